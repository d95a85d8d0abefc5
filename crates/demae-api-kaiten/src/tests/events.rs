//! Publishing and reading events, and their types.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use demae_api::{ApiState, EventSink, Limits, ingest::IngestError};
use demae_delivery::management::{Management, Rules};
use demae_event::{Clock as _, Event};
use demae_store::engine::Appended;
use http::Method;
use serde_json::{Value, json};

use crate::testing::{TestApi, request};

on_both_databases! {
    an_event_is_taken_in_with_its_payloads_own_text,
    several_events_are_taken_in_together_or_not_at_all,
    an_id_of_the_senders_own_is_taken_in_once,
    an_idempotency_key_makes_a_publication_repeatable,
    a_key_of_a_publication_belongs_to_its_events_and_its_token,
    the_answer_names_the_webhook_id_that_is_delivered,
    many_at_once_are_all_written,
    a_full_queue_says_when_to_come_back,
    the_list_of_event_types_begins_with_the_catalogue,
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn an_event_is_taken_in_with_its_payloads_own_text(api: TestApi) {
    let body = r#"{"name": "A.B", "type": "a.b", "data": {"n": 1.50, "z": [1]}, "headers": {"tenant": "x"}}"#;
    let request = request(Method::POST, "/api/events", &api.token).header("traceparent", TRACE);
    let accepted = api.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let event = &api.store.engine().read_outbox(10).await.unwrap()[0];
    assert_eq!(event.data.get(), r#"{"n": 1.50, "z": [1]}"#);
    assert_eq!(event.traceparent.as_deref(), Some(TRACE));
    let accepted = accepted.json();
    assert_eq!(
        (&accepted["id"], &accepted["duplicate"]),
        (&json!(event.id.to_string()), &json!(false))
    );
    for id in ["id", "messageId"] {
        let shown = api
            .get(&format!("/api/events/{}", accepted[id].as_str().unwrap()))
            .await
            .json();
        assert_eq!((&shown["name"], &shown["routed"]), (&json!("A.B"), &json!(false)));
        assert_eq!(shown["headers"], json!({"tenant": "x"}));
    }
}

async fn several_events_are_taken_in_together_or_not_at_all(api: TestApi) {
    let good = json!({"name": "CUSTOMER_CREATED", "data": {}});
    let refused = api
        .post(
            "/api/events",
            json!({"events": [good, {"name": "A B", "data": {}}]}),
        )
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.locations()),
        (422, vec!["body.events[1].name".to_owned()])
    );
    assert!(api.store.engine().read_outbox(10).await.unwrap().is_empty());
    let accepted = api.post("/api/events", json!({"events": [good, good]})).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let items = accepted.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["name"], "CUSTOMER_CREATION");
    assert_eq!(api.store.engine().read_outbox(10).await.unwrap().len(), 2);
}

async fn an_id_of_the_senders_own_is_taken_in_once(api: TestApi) {
    let body = json!({"name": "A", "type": "a", "data": {}, "id": "order-17"});
    let first = api.post("/api/events", body.clone()).await.json();
    let again = api.post("/api/events", body.clone()).await.json();
    let keyed = api.post_with_key("/api/events", "key", &body).await.json();
    assert_eq!(
        (&first["duplicate"], &again["duplicate"], &keyed["duplicate"]),
        (&json!(false), &json!(true), &json!(true))
    );
    assert_eq!((&first["id"], &first["id"]), (&again["id"], &keyed["id"]));
    // A duplicate does not know when the event was written, which its message's id holds.
    assert!(
        first["messageId"].is_string() && again.get("messageId").is_none(),
        "{first} {again}"
    );
    assert_eq!(api.store.engine().read_outbox(10).await.unwrap().len(), 1);
}

async fn an_idempotency_key_makes_a_publication_repeatable(api: TestApi) {
    let body = json!({"name": "A", "type": "a", "data": {}});
    let first = api.post_with_key("/api/events", "key", &body).await;
    let again = api.post_with_key("/api/events", "key", &body).await;
    assert_eq!((first.status.as_u16(), &first.text), (202, &again.text));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(api.store.engine().read_outbox(10).await.unwrap().len(), 1);
}

async fn a_key_of_a_publication_belongs_to_its_events_and_its_token(mut api: TestApi) {
    let event = |n: f64| json!({"name": "A", "type": "a", "data": {"n": n}, "headers": {"h": [1e2]}});
    let list = |numbers: &[f64]| json!({"events": numbers.iter().map(|n| event(*n)).collect::<Vec<_>>()});
    for (key, first, others) in [
        (
            "one",
            event(1.5),
            vec![event(2.5), json!({"name": "B", "type": "a", "data": {"n": 1.5}})],
        ),
        (
            "list",
            list(&[1.0, 2.0]),
            vec![list(&[1.0, 3.0]), list(&[1.0, 2.0, 3.0]), list(&[2.0])],
        ),
    ] {
        let written = api.post_with_key("/api/events", key, &first).await;
        assert_eq!(
            (written.status.as_u16(), written.header("idempotent-replayed")),
            (202, None)
        );
        let events = api.store.engine().read_outbox(10).await.unwrap().len();
        for other in others {
            let refused = api.post_with_key("/api/events", key, &other).await;
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (422, "Idempotency.KeyReused")
            );
        }
        let again = api.post_with_key("/api/events", key, &first).await;
        assert_eq!(
            (&again.text, again.header("idempotent-replayed")),
            (&written.text, Some("true"))
        );
        assert_eq!(api.store.engine().read_outbox(10).await.unwrap().len(), events);
    }
    api.token = api.other_token().await;
    let theirs = api.post_with_key("/api/events", "one", &event(1.5)).await;
    assert_eq!(
        (theirs.status.as_u16(), theirs.header("idempotent-replayed")),
        (202, None)
    );
}

/// Just before a second ends, on both ways into the outbox.
async fn the_answer_names_the_webhook_id_that_is_delivered(api: TestApi) {
    api.clock.advance(std::time::Duration::from_micros(999_999));
    let event = json!({"name": "A", "type": "a", "data": {}});
    let answer = api.post("/api/events", event).await.json();
    api.post("/api/customers", json!({"name": "Caused an event"}))
        .await;
    let stored = api.store.engine().read_outbox(10).await.unwrap();
    assert_eq!(stored.len(), 2);
    assert_eq!(answer["messageId"], stored[0].id.message_id(stored[0].created_at));
    assert_eq!(answer["createdAt"], stored[0].created_at.to_string());
    for event in stored {
        assert_eq!(
            event.created_at.as_secs(),
            api.clock.now().as_secs(),
            "{}",
            event.name
        );
    }
}

/// With one commit for each of them, or with a connection held by each, they would wait for each other.
#[tokio::test]
async fn publications_with_a_key_share_commits_and_hold_no_connection() {
    let api = TestApi::on_postgres_with(2).await;
    let body = json!({"name": "A", "type": "a", "data": {}});
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    let replies = keys
        .iter()
        .map(|key| api.post_with_key("/api/events", key, &body));
    let replies = futures::future::join_all(replies).await;
    assert!(replies.iter().all(|reply| reply.status == 202), "{replies:?}");
    assert_eq!(api.store.engine().read_outbox(1_000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_request_holds_so_many_events_and_no_more() {
    let limits = Limits {
        events_per_request: 3,
        ..Limits::default()
    };
    let api = TestApi::with_limits(limits).await;
    for (count, status) in [(0, 422), (3, 202), (4, 422)] {
        let events = vec![json!({"name": "A", "type": "a", "data": {}}); count];
        assert_eq!(
            api.post("/api/events", json!({"events": events})).await.status,
            status,
            "{count}"
        );
    }
}

async fn many_at_once_are_all_written(api: TestApi) {
    let body = json!({"name": "A", "type": "a", "data": {}});
    let replies = futures::future::join_all((0..200).map(|_| api.post("/api/events", body.clone()))).await;
    assert!(replies.iter().all(|reply| reply.status == 202), "{replies:?}");
    assert_eq!(api.store.engine().read_outbox(1_000).await.unwrap().len(), 200);
}

/// A sink that answers the same to everybody.
struct Stubborn(IngestError);

#[async_trait]
impl EventSink for Stubborn {
    async fn publish(&self, _: Vec<Event>) -> Result<Vec<Appended>, IngestError> {
        Err(self.0.clone())
    }
}

async fn a_full_queue_says_when_to_come_back(api: TestApi) {
    for (error, status, code) in [
        (IngestError::Full, 429, "PublishEvents.QueueFull"),
        (IngestError::Stopped, 503, "Unavailable"),
    ] {
        let management = Management::new(api.store.clone(), Rules::default());
        let sink = Arc::new(Stubborn(error));
        let state = ApiState::new(
            api.store.clone(),
            management,
            api.clock.clone(),
            sink,
            Limits::default(),
        );
        let body = Body::from(r#"{"name": "A", "type": "a", "data": {}}"#);
        let request = request(Method::POST, "/api/events", &api.token)
            .body(body)
            .unwrap();
        let reply =
            demae_api::testing::TestApi::send_to(demae_api::router(state, vec![crate::surface()]), request)
                .await;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code));
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn too_many_changes_at_once_are_refused() {
    let api = TestApi::with_limits(Limits {
        concurrent_writes: 0,
        ..Limits::default()
    })
    .await;
    let reply = api.post("/api/customers", json!({"name": "Any"})).await;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "Busy"));
    assert_eq!(reply.header("retry-after"), Some("1"));
}

async fn the_list_of_event_types_begins_with_the_catalogue(api: TestApi) {
    let own = json!({"name": "ORDER_SHIPPED", "schema": {"type": "object"}, "example": {"id": "17"}});
    let created = api.post("/api/event-types", own.clone()).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(
        api.post("/api/event-types", own).await.code(),
        "CreateEventType.NameTaken"
    );
    let mut names: Vec<Value> = Vec::new();
    let mut path = "/api/event-types?limit=10".to_owned();
    loop {
        let page = api.get(&path).await.json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].clone()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/event-types?limit=10&cursor={cursor}");
    }
    let known = demae_event::catalogue::all()
        .iter()
        .chain(demae_event::catalogue::operational());
    let mut expected: Vec<Value> = known.map(|event| event.name.into()).collect();
    expected.push("ORDER_SHIPPED".into());
    assert_eq!(names, expected);
    let later = api.get("/api/event-types/CUSTOMER_CREATED").await.json();
    assert_eq!(
        (&later["name"], &later["own"]),
        (&json!("CUSTOMER_CREATION"), &json!(false))
    );
    assert_eq!(
        api.call(Method::DELETE, "/api/event-types/CUSTOMER_CREATION", None)
            .await
            .status,
        404
    );
    let path = "/api/event-types/ORDER_SHIPPED";
    let replaced = api
        .call(Method::PUT, path, Some(json!({"description": "Gone"})))
        .await
        .json();
    assert_eq!(
        (&replaced["description"], replaced.get("schema")),
        (&json!("Gone"), None)
    );
    assert_eq!(api.call(Method::DELETE, path, None).await.status, 204);
}
