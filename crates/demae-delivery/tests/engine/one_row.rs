//! One row that cannot be read, or one value that cannot be written, stops nothing behind it.

use demae_event::Event;
use demae_store::{Backend, engine::DeliveryState, repository::rejected};
use demae_testkit::receiver::Recorder;
use sea_orm::ConnectionTrait as _;
use serde_json::value::RawValue;

use crate::support::{Bench, Database, drain, numbers, on_both, schedule};

on_both!(
    a_row_that_cannot_be_read_is_rejected_and_the_events_behind_it_are_delivered,
    an_event_that_the_database_refuses_is_rejected_and_its_batch_is_delivered,
);

async fn execute(bench: &Bench, sql: &str) {
    let transaction = bench.store.begin().await.unwrap();
    transaction.connection().execute_unprepared(sql).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn reasons(bench: &Bench) -> Vec<String> {
    let page = demae_store::repository::Page::first(10);
    let rejected = rejected::list(bench.store.reader(), page).await.unwrap();
    rejected.items.into_iter().map(|row| row.reason).collect()
}

async fn a_row_that_cannot_be_read_is_rejected_and_the_events_behind_it_are_delivered(
    database: Box<dyn Database>,
) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/hook"), |_| {}).await;
    let payload = match bench.store.backend() {
        Backend::Sqlite => "x'7b226e223a22ff227d'",
        Backend::Postgres => "'[1]'",
    };
    let row = format!(
        "INSERT INTO outbox_events (organization_id, event_name, event_type, payload)
         VALUES ('{}', 'A', 'a', {payload})",
        bench.scope.organization
    );
    execute(&bench, &row).await;
    bench.publish(0..3).await;
    let worker = bench.start(schedule(&[1])).await;
    receiver.wait_for(3).await;
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 3);
    let reasons = reasons(&bench).await;
    assert!(
        reasons.len() == 1 && reasons[0].contains("payload"),
        "{reasons:?}"
    );
}

async fn an_event_that_the_database_refuses_is_rejected_and_its_batch_is_delivered(
    database: Box<dyn Database>,
) {
    let bench = Bench::new(database).await;
    let receiver = Recorder::start().await;
    let endpoint = bench.endpoint(&receiver.url("/hook"), |_| {}).await;
    let refuse = match bench.store.backend() {
        Backend::Sqlite => {
            "CREATE TRIGGER poison BEFORE INSERT ON messages WHEN NEW.payload LIKE '%poison%'
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        }
        Backend::Postgres => "ALTER TABLE messages ADD CONSTRAINT poison CHECK (payload NOT LIKE '%poison%')",
    };
    execute(&bench, refuse).await;
    let mut events: Vec<Event> = (0..9).map(|number| bench.event(number)).collect();
    events[4].data = RawValue::from_string(r#"{"number": 4, "x": "poison"}"#.to_owned()).unwrap();
    bench.store.engine().append(&events).await.unwrap();
    let worker = bench.start(schedule(&[1])).await;
    let requests = receiver.wait_for(8).await;
    let mut seen = numbers(requests.iter().map(|request| &request.body));
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 5, 6, 7, 8]);
    drain(worker).await;
    assert_eq!(bench.in_state(endpoint, DeliveryState::Succeeded).await, 8);
    assert!(bench.store.engine().read_outbox(10).await.unwrap().is_empty());
    let reasons = reasons(&bench).await;
    assert!(reasons.len() == 1 && reasons[0].contains("poison"), "{reasons:?}");
}
