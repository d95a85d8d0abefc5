//! Sending again, and forgetting.

use demae_delivery::management::{
    EndpointPatch, ManagementError, Page, Retention,
    events::EventFilter,
    history::HistoryFilter,
    recovery::{RecoverInput, RecoverState},
};
use demae_event::{EndpointId, EventId, Scope};
use demae_store::{
    engine::{AttemptStatus, DeliveryState, Disposition},
    repository::jobs::{Job, JobStatus},
};

use crate::support::{NOW, World, code, input, locations, seconds};

in_every_scope!(
    what_failed_or_never_arrived_is_sent_again,
    only_the_chosen_states_are_sent_again,
    a_long_recovery_goes_on_where_it_stopped,
    a_recovery_ends_when_its_endpoint_does,
    what_cannot_be_recovered_is_refused,
    what_is_old_and_finished_is_forgotten,
);

fn since_yesterday() -> RecoverInput {
    RecoverInput {
        since: NOW - seconds(86_400),
        until: None,
        states: Vec::new(),
    }
}

/// The moment at which everything has happened.
fn later() -> demae_event::Timestamp {
    NOW + seconds(10)
}

async fn recover(
    world: &World,
    scope: Scope,
    id: EndpointId,
    input: RecoverInput,
) -> Result<Job, ManagementError> {
    let mut transaction = world.begin().await;
    let job = world
        .management
        .recover_endpoint(&mut transaction, scope, id, input, later())
        .await?;
    transaction.commit().await.unwrap();
    Ok(job)
}

/// Every kind of delivery of one endpoint.
struct Mixed {
    failed: EventId,
    failing: EventId,
    canceled: EventId,
    missing: EventId,
    /// Succeeded, under way, and not tried yet.
    fine: [EventId; 3],
}

async fn mixed(world: &World, endpoint: EndpointId) -> Mixed {
    let mut finish = Vec::new();
    for (status, disposition) in [
        (AttemptStatus::Failed, Disposition::Finish(DeliveryState::Failed)),
        (AttemptStatus::Failing, Disposition::Retry(NOW + seconds(300))),
        (
            AttemptStatus::Canceled,
            Disposition::Finish(DeliveryState::Canceled),
        ),
        (
            AttemptStatus::Success,
            Disposition::Finish(DeliveryState::Succeeded),
        ),
    ] {
        finish.push(world.waiting(endpoint).await);
        let leased = world.claim(endpoint).await;
        world.record(&leased[0], status, disposition).await;
    }
    let sending = world.waiting(endpoint).await;
    world.claim(endpoint).await;
    let fresh = world.waiting(endpoint).await;
    let missing = world.event(NOW);
    world.message(&missing).await;
    Mixed {
        failed: finish[0],
        failing: finish[1],
        canceled: finish[2],
        missing: missing.id,
        fine: [finish[3], sending, fresh],
    }
}

/// Which of these events are due now at the endpoint though nobody planned them before.
async fn resent(world: &World, endpoint: EndpointId, mixed: &Mixed) -> Vec<EventId> {
    let leased = world.claim_at(endpoint, later()).await;
    let mut events: Vec<_> = leased.iter().map(|lease| lease.message.event_id).collect();
    events.retain(|event| *event != mixed.fine[2]);
    events.sort_unstable();
    events
}

fn sorted(mut events: Vec<EventId>) -> Vec<EventId> {
    events.sort_unstable();
    events
}

async fn what_failed_or_never_arrived_is_sent_again(world: &World) {
    let endpoint = world.endpoint().await.id;
    let mixed = mixed(world, endpoint).await;
    let job = recover(world, world.mine, endpoint, since_yesterday())
        .await
        .unwrap();
    assert_eq!(job.status, JobStatus::Running);
    world.run_timers(Retention::default(), later()).await;
    let job = world.management.job(world.mine, job.id).await.unwrap();
    assert_eq!(
        (job.status, job.examined, job.resent),
        (JobStatus::Finished, 7, 4)
    );
    // What was planned stays planned.
    let row = world.delivery(endpoint, mixed.failing).await.unwrap();
    assert_eq!(
        (row.manual, row.resume_due_at),
        (true, Some((NOW + seconds(300)).as_micros()))
    );
    let expected = sorted(vec![mixed.failed, mixed.failing, mixed.canceled, mixed.missing]);
    assert_eq!(resent(world, endpoint, &mixed).await, expected);
    assert_eq!(
        code(world.management.job(world.theirs, job.id).await),
        "GetJob.NotFound"
    );
    assert_eq!(
        world
            .management
            .jobs(world.theirs, Page::first(9))
            .await
            .unwrap()
            .items,
        []
    );
}

async fn only_the_chosen_states_are_sent_again(world: &World) {
    let endpoint = world
        .create(world.mine, input("https://example.com/", &["LICENSE_*"]))
        .await
        .unwrap()
        .id;
    let mixed = mixed(world, endpoint).await;
    let states = vec![RecoverState::Failed, RecoverState::Missing];
    recover(
        world,
        world.mine,
        endpoint,
        RecoverInput {
            states,
            ..since_yesterday()
        },
    )
    .await
    .unwrap();
    world.run_timers(Retention::default(), later()).await;
    // The missing one is of an event that the endpoint does not subscribe to.
    assert_eq!(resent(world, endpoint, &mixed).await, [mixed.failed]);
    assert!(world.delivery(endpoint, mixed.missing).await.is_none());
    for state in RecoverState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
    }
}

async fn a_long_recovery_goes_on_where_it_stopped(world: &World) {
    let endpoint = world.endpoint().await.id;
    let mut transaction = world.begin().await;
    for _ in 0..2_500 {
        let event = world.event(NOW);
        demae_store::repository::messages::insert(&mut transaction, &event)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    let job = recover(world, world.mine, endpoint, since_yesterday())
        .await
        .unwrap();
    // A run is bounded, so it takes more than one; each may be made by another process.
    let first = world.runner(Retention::default(), later()).await;
    assert_eq!(first.run_due().await.unwrap(), 1);
    let halfway = world.management.job(world.mine, job.id).await.unwrap();
    assert_eq!((halfway.status, halfway.examined), (JobStatus::Running, 2_000));
    let second = world.runner(Retention::default(), later()).await;
    assert_eq!(second.run_due().await.unwrap(), 1);
    assert_eq!(
        second.run_due().await.unwrap(),
        0,
        "nothing follows a finished job"
    );
    let done = world.management.job(world.mine, job.id).await.unwrap();
    assert_eq!(
        (done.status, done.examined, done.resent),
        (JobStatus::Finished, 2_500, 2_500)
    );
}

async fn a_recovery_ends_when_its_endpoint_does(world: &World) {
    let endpoint = world.endpoint().await.id;
    let job = recover(world, world.mine, endpoint, since_yesterday())
        .await
        .unwrap();
    let mut transaction = world.begin().await;
    world
        .management
        .delete_endpoint(&mut transaction, world.mine, endpoint, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    world.run_timers(Retention::default(), later()).await;
    let job = world.management.job(world.mine, job.id).await.unwrap();
    assert_eq!(
        (job.status, job.error.as_deref()),
        (JobStatus::Failed, Some("the endpoint was deleted"))
    );
}

async fn what_cannot_be_recovered_is_refused(world: &World) {
    let endpoint = world.endpoint().await.id;
    let refused = recover(world, world.theirs, endpoint, since_yesterday()).await;
    assert_eq!(code(refused), "RecoverEndpoint.NotFound");
    let future = RecoverInput {
        since: later(),
        ..since_yesterday()
    };
    assert_eq!(
        locations(recover(world, world.mine, endpoint, future).await),
        ["since"]
    );
    let empty = RecoverInput {
        until: Some(NOW - seconds(86_400)),
        ..since_yesterday()
    };
    assert_eq!(
        locations(recover(world, world.mine, endpoint, empty).await),
        ["until"]
    );
    recover(world, world.mine, endpoint, since_yesterday())
        .await
        .unwrap();
    let second = recover(world, world.mine, endpoint, since_yesterday()).await;
    assert_eq!(code(second), "RecoverEndpoint.AlreadyRunning");
    world.run_timers(Retention::default(), later()).await;
    recover(world, world.mine, endpoint, since_yesterday())
        .await
        .unwrap();
    let mut transaction = world.begin().await;
    let disable = EndpointPatch {
        enabled: Some(false),
        ..EndpointPatch::default()
    };
    world
        .management
        .patch_endpoint(&mut transaction, world.mine, endpoint, disable, NOW)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let disabled = recover(world, world.mine, endpoint, since_yesterday()).await;
    assert_eq!(code(disabled), "RecoverEndpoint.EndpointDisabled");
}

async fn what_is_old_and_finished_is_forgotten(world: &World) {
    let endpoint = world.endpoint().await.id;
    let mixed = mixed(world, endpoint).await;
    let retention = Retention {
        attempts: seconds(60),
        messages: seconds(60),
        jobs: seconds(60),
        ..Retention::default()
    };
    world.run_timers(retention, NOW + seconds(59)).await;
    assert_eq!(
        world
            .management
            .history(world.mine, &HistoryFilter::default(), Page::first(9))
            .await
            .unwrap()
            .items
            .len(),
        5
    );

    world.run_timers(retention, NOW + seconds(3_600)).await;
    let left = world
        .management
        .events(world.mine, &EventFilter::default(), Page::first(9))
        .await
        .unwrap();
    let left: Vec<_> = left.items.iter().map(|view| view.message.event_id).collect();
    // Open deliveries keep their messages: failing, under way, not tried yet.
    assert_eq!(
        sorted(left),
        sorted(vec![mixed.failing, mixed.fine[1], mixed.fine[2]])
    );
    let shown = world
        .management
        .history(world.mine, &HistoryFilter::default(), Page::first(9))
        .await
        .unwrap();
    assert!(shown.items.iter().all(|entry| entry.outcome.is_none()));
    assert_eq!(shown.items.len(), 1);
}
