//! Jobs and their progress.

use demae_event::{EndpointId, JobId, Scope};
use demae_store::repository::{
    Page,
    jobs::{self, Job, JobStatus, NewJob, NextStep, Step},
};

use super::Two;
use crate::support::{NOW, TestStore, new_endpoint, seconds};

in_every_scope!(
    jobs_stay_in_their_organization,
    progress_is_kept,
    a_job_that_has_ended_takes_no_step,
);

const KIND: &str = "test.kind";

async fn create(store: &TestStore, scope: Scope, endpoint: EndpointId) -> Job {
    let mut transaction = store.begin().await;
    let new = NewJob {
        id: JobId::new(NOW),
        scope,
        kind: KIND,
        endpoint_id: endpoint,
        parameters: "{}".to_owned(),
    };
    let job = jobs::create(&mut transaction, new, NOW).await.unwrap();
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
    let two = Two::scopes(store).await;
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

async fn progress_is_kept(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut job = create(store, two.mine, new_endpoint()).await;
    assert!(advance(store, &mut job, NextStep::Continue).await);
    assert!(advance(store, &mut job, NextStep::Continue).await);
    let found = found(store, &job).await;
    assert_eq!((found.examined, found.resent), (20, 6));
    assert_eq!(found.cursor.as_deref(), Some(r#"{"at":1}"#));
    assert_eq!(found.updated_at, NOW + seconds(1));
    assert_eq!(found, job);
}

async fn a_job_that_has_ended_takes_no_step(store: &TestStore) {
    let two = Two::scopes(store).await;
    let mut job = create(store, two.mine, new_endpoint()).await;
    let mut known_before = job.clone();
    let reason = "the webhook was deleted".to_owned();
    assert!(advance(store, &mut job, NextStep::Fail(reason.clone())).await);
    assert!(!advance(store, &mut known_before, NextStep::Finish).await);
    assert_eq!(known_before.status, JobStatus::Running);
    let found = found(store, &job).await;
    assert_eq!((found.status, found.error), (JobStatus::Failed, Some(reason)));
    let running = jobs::count_running(store.store.reader(), job.endpoint_id, KIND, 5).await;
    assert_eq!(running.unwrap(), 0);
}

async fn found(store: &TestStore, job: &Job) -> Job {
    let found = jobs::find(store.store.reader(), job.scope, job.id).await;
    found.unwrap().unwrap()
}
