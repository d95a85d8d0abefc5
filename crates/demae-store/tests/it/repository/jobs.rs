//! Jobs: leases, progress, and who may note it.

use demae_event::{EndpointId, JobId, OrganizationId};
use demae_store::repository::{
    Page,
    jobs::{self, Job, JobStatus, NewJob, NextStep, Step},
};

use super::Two;
use crate::support::{NOW, TestStore, new_endpoint, seconds};

on_both_databases!(
    jobs_stay_in_their_organization,
    a_job_is_leased_by_one_until_its_lease_ends,
    progress_is_kept_and_handed_over,
    whoever_lost_the_lease_notes_nothing,
    a_finished_job_is_not_leased,
);

const KIND: &str = "test.kind";

async fn create(store: &TestStore, organization: OrganizationId, endpoint: EndpointId) -> Job {
    let mut transaction = store.begin().await;
    let new = NewJob {
        id: JobId::new(NOW),
        organization_id: organization,
        kind: KIND,
        endpoint_id: endpoint,
        parameters: "{}".to_owned(),
    };
    let job = jobs::create(&mut transaction, new, NOW).await.unwrap();
    transaction.commit().await.unwrap();
    job
}

async fn lease(store: &TestStore, after: u64) -> Option<Job> {
    let now = NOW + seconds(after);
    let mut transaction = store.begin().await;
    let job = jobs::lease(&mut transaction, KIND, now, now + seconds(30))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    job
}

fn step(next: NextStep) -> Step {
    Step {
        cursor: Some(r#"{"at":1}"#.to_owned()),
        examined: 10,
        resent: 3,
        next,
    }
}

async fn advance(store: &TestStore, job: &mut Job, next: NextStep) -> bool {
    let mut transaction = store.begin().await;
    let held = jobs::advance(&mut transaction, job, step(next), NOW + seconds(1))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    held
}

async fn jobs_stay_in_their_organization(store: &TestStore) {
    let two = Two::organizations(store).await;
    let endpoint = new_endpoint();
    let mine = create(store, two.mine, endpoint).await;
    let second = create(store, two.mine, new_endpoint()).await;
    let reader = store.store.reader();
    assert_eq!(
        jobs::find(reader, two.mine, mine.id).await.unwrap(),
        Some(mine.clone())
    );
    assert_eq!(jobs::find(reader, two.theirs, mine.id).await.unwrap(), None);
    let page = jobs::list(reader, two.mine, Page::first(1)).await.unwrap();
    assert_eq!((page.items, page.next), (vec![second.clone()], Some(second.id)));
    let page = jobs::list(
        reader,
        two.mine,
        Page {
            limit: 1,
            after: page.next,
        },
    )
    .await
    .unwrap();
    assert_eq!((page.items, page.next), (vec![mine], None));
    assert_eq!(
        jobs::list(reader, two.theirs, Page::first(9))
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(jobs::count_running(reader, endpoint, KIND, 5).await.unwrap(), 1);
    assert_eq!(
        jobs::count_running(reader, endpoint, "other", 5).await.unwrap(),
        0
    );
}

async fn a_job_is_leased_by_one_until_its_lease_ends(store: &TestStore) {
    let two = Two::organizations(store).await;
    let job = create(store, two.mine, new_endpoint()).await;
    assert!(jobs::is_any_due(store.store.reader(), KIND, NOW).await.unwrap());
    let leased = futures::future::join_all((0..4).map(|_| lease(store, 0))).await;
    assert_eq!(leased.iter().flatten().count(), 1);
    assert!(
        !jobs::is_any_due(store.store.reader(), KIND, NOW + seconds(30))
            .await
            .unwrap()
    );
    assert_eq!(lease(store, 30).await, None);
    assert_eq!(lease(store, 31).await.unwrap().id, job.id);
}

async fn progress_is_kept_and_handed_over(store: &TestStore) {
    let two = Two::organizations(store).await;
    create(store, two.mine, new_endpoint()).await;
    let mut job = lease(store, 0).await.unwrap();
    assert!(advance(store, &mut job, NextStep::Continue(NOW + seconds(40))).await);
    assert!(advance(store, &mut job, NextStep::Yield).await);
    let other = lease(store, 0).await.unwrap();
    assert_eq!((other.examined, other.resent), (20, 6));
    assert_eq!(other.cursor.as_deref(), Some(r#"{"at":1}"#));
    assert_eq!(other.updated_at, NOW + seconds(1));
}

async fn whoever_lost_the_lease_notes_nothing(store: &TestStore) {
    let two = Two::organizations(store).await;
    create(store, two.mine, new_endpoint()).await;
    let mut slow = lease(store, 0).await.unwrap();
    let mut quick = lease(store, 31).await.unwrap();
    assert!(!advance(store, &mut slow, NextStep::Finish).await);
    assert_eq!(slow.status, JobStatus::Running);
    assert!(advance(store, &mut quick, NextStep::Finish).await);
    let found = jobs::find(store.store.reader(), two.mine, quick.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, quick);
    assert_eq!((found.status, found.examined), (JobStatus::Finished, 10));
}

async fn a_finished_job_is_not_leased(store: &TestStore) {
    let two = Two::organizations(store).await;
    create(store, two.mine, new_endpoint()).await;
    let mut job = lease(store, 0).await.unwrap();
    assert!(
        advance(
            store,
            &mut job,
            NextStep::Fail("the webhook was deleted".to_owned())
        )
        .await
    );
    assert_eq!(lease(store, 100).await, None);
    let found = jobs::find(store.store.reader(), two.mine, job.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.status, found.error.as_deref()),
        (JobStatus::Failed, Some("the webhook was deleted"))
    );
    assert_eq!(
        jobs::count_running(store.store.reader(), job.endpoint_id, KIND, 5)
            .await
            .unwrap(),
        0
    );
}
