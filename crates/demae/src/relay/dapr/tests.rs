use std::sync::Arc;

use axum::body::Body;
use demae_event::{Clock as _, OrganizationId, Scope, SystemClock, Timestamp, id::new_uuid};
use demae_store::{
    Store, StoreOptions, Vault,
    entity::organization,
    repository::{Page, organizations, rejected},
};
use demae_testkit::sqlite::SqliteFile;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

const TOKEN: &str = "a token of the app";

struct Fixture {
    store: Store,
    router: Router,
    source: DaprSource,
    organization: OrganizationId,
    _file: SqliteFile,
}

async fn fixture() -> Fixture {
    let file = SqliteFile::create().unwrap();
    let vault = Vault::from_text(&Vault::generate_text()).unwrap();
    let store = Store::connect(StoreOptions::new(file.url(), vault))
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let organization = OrganizationId(new_uuid(SystemClock.now()));
    let mut transaction = store.begin().await.unwrap();
    let row = organization::Model {
        id: organization.0,
        external_id: None,
        name: "Test".to_owned(),
        created_at: 0,
    };
    assert!(organizations::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    let dapr = Dapr {
        app_token: Secret::new(TOKEN),
        organizations: Organizations::new(store.clone()),
        rejections: Rejections::new(store.clone(), Arc::new(SystemClock)),
    };
    let (router, source) = dapr.open();
    Fixture {
        store,
        router,
        source,
        organization,
        _file: file,
    }
}

impl Fixture {
    fn event(&self) -> Event {
        Event {
            id: EventId(new_uuid(SystemClock.now())),
            scope: Scope::default_of(self.organization),
            name: "CUSTOMER_CREATION".to_owned(),
            event_type: "com.kaiten.customer.v1.created".to_owned(),
            data: RawValue::from_string(r#"{"id": "c"}"#.to_owned()).unwrap(),
            headers: None,
            traceparent: None,
            created_at: Timestamp::from_secs(1_790_000_000),
        }
    }

    /// What the id of an event becomes that a sidecar brings.
    fn brought(event: &Event) -> EventId {
        EventId::of_source(event.scope, "dapr", &event.id.to_string())
    }

    /// What came out of the source for `body`, and the answer; `route` says whether the router acknowledges it.
    async fn bring(&mut self, body: impl Into<Body>, route: bool) -> (Vec<Event>, Value) {
        let answer = tokio::spawn(self.router.clone().oneshot(post(body)));
        let mut seen = Vec::new();
        tokio::pin!(answer);
        let response = loop {
            tokio::select! {
                response = &mut answer => break response.unwrap().unwrap(),
                events = self.source.next(10) => {
                    let events = events.unwrap();
                    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
                    seen.extend(events);
                    if route {
                        self.source.acknowledge(&ids).await.unwrap();
                    }
                }
            }
        };
        assert_eq!(response.status(), StatusCode::OK);
        (seen, json_of(response).await)
    }

    async fn rejected(&self) -> Vec<rejected::Rejected> {
        rejected::list(self.store.reader(), Page::first(100))
            .await
            .unwrap()
            .items
    }
}

/// As the sidecar sends it.
fn post(body: impl Into<Body>) -> Request {
    with_token(Some(TOKEN), body)
}

fn with_token(token: Option<&str>, body: impl Into<Body>) -> Request {
    let request = http::Request::post("/events").header(header::CONTENT_TYPE, "application/cloudevents+json");
    let request = match token {
        Some(token) => request.header("dapr-api-token", token),
        None => request,
    };
    request.body(body.into()).unwrap()
}

fn get_subscription() -> Request {
    http::Request::get("/dapr/subscribe")
        .header("dapr-api-token", TOKEN)
        .body(Body::empty())
        .unwrap()
}

async fn json_of(response: Response) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn status(router: &Router, request: Request) -> StatusCode {
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn an_event_is_a_success_once_it_is_routed() {
    let mut fixture = fixture().await;
    let event = fixture.event();
    let (seen, answer) = fixture.bring(envelope::encode(&event), true).await;
    assert_eq!(answer, json!({ "status": "SUCCESS" }));
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].id, seen[0].data.get()),
        (Fixture::brought(&event), event.data.get())
    );
    assert!(fixture.rejected().await.is_empty());
}

#[tokio::test]
async fn what_is_not_routed_has_to_come_again() {
    let mut fixture = fixture().await;
    let event = fixture.event();
    let (seen, answer) = fixture.bring(envelope::encode(&event), false).await;
    assert_eq!(answer, json!({ "status": "RETRY" }));
    assert_eq!(seen.len(), 1);
    // The same event again is the same event.
    let (seen, answer) = fixture.bring(envelope::encode(&event), true).await;
    assert_eq!(answer, json!({ "status": "SUCCESS" }));
    assert_eq!(seen[0].id, Fixture::brought(&event));
}

#[tokio::test]
async fn an_event_that_is_not_routed_in_time_has_to_come_again() {
    let fixture = fixture().await;
    let body = envelope::encode(&fixture.event());
    // Known by now, so that nothing but the router has to be waited for once the clock stands still.
    assert!(
        Organizations::new(fixture.store.clone())
            .exists(Scope::default_of(fixture.organization))
            .await
            .unwrap()
    );
    let answer = tokio::spawn(fixture.router.clone().oneshot(post(body)));
    while fixture.source.arrivals.is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(json_of(response).await, json!({ "status": "RETRY" }));
}

#[tokio::test]
async fn an_event_wrapped_once_more_is_the_same_event() {
    let mut fixture = fixture().await;
    let event = fixture.event();
    let inner: Value = serde_json::from_slice(&envelope::encode(&event)).unwrap();
    for data in [inner.clone(), Value::String(inner.to_string())] {
        let outer = json!({"specversion": "1.0", "id": "x", "source": "dapr", "type": "com.dapr.event.sent",
            "topic": TOPIC, "pubsubname": PUBSUB, "data": data});
        let (seen, answer) = fixture.bring(outer.to_string(), true).await;
        assert_eq!(answer, json!({ "status": "SUCCESS" }), "{outer}");
        assert_eq!(seen[0].id, Fixture::brought(&event));
    }
}

#[tokio::test]
async fn heartbeats_are_acknowledged_and_ignored() {
    let mut fixture = fixture().await;
    let heartbeat = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "cloud.kaiten.cdc.heartbeat",
        "data": {}});
    let (seen, answer) = fixture.bring(heartbeat.to_string(), true).await;
    assert_eq!(answer, json!({ "status": "SUCCESS" }));
    assert!(seen.is_empty());
    assert!(fixture.rejected().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_an_event_is_dropped_and_visible() {
    let mut fixture = fixture().await;
    let mut stranger = fixture.event();
    stranger.scope = Scope::default_of(OrganizationId(new_uuid(SystemClock.now())));
    let bodies = [
        b"{\"specversion\": \"1.0\"".to_vec(),
        b"\xff\0".to_vec(),
        json!({"data": {"payload": {"after": {"id": "no uuid"}}}})
            .to_string()
            .into_bytes(),
        envelope::encode(&stranger).to_vec(),
    ];
    for body in &bodies {
        let (seen, answer) = fixture.bring(body.clone(), true).await;
        assert_eq!(answer, json!({ "status": "DROP" }));
        assert!(seen.is_empty());
    }
    let rejected = fixture.rejected().await;
    assert_eq!(rejected.len(), bodies.len());
    assert!(rejected.iter().all(|rejected| rejected.source == "dapr"));
    // The last to arrive first.
    assert!(
        rejected[0]
            .reason
            .contains(&stranger.scope.organization.to_string())
    );
    let (_, kept) = rejected::find(fixture.store.reader(), rejected[2].id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept, bodies[1]);
}

#[tokio::test]
async fn what_only_the_engine_may_say_is_dropped_and_visible() {
    let mut fixture = fixture().await;
    let mut event = fixture.event();
    event.name = "ENDPOINT_DISABLED".to_owned();
    let (seen, answer) = fixture.bring(envelope::encode(&event), true).await;
    assert_eq!(answer, json!({ "status": "DROP" }));
    assert!(seen.is_empty());
    let rejected = fixture.rejected().await;
    assert!(
        rejected[0].reason.starts_with("ENDPOINT_DISABLED is reserved"),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn a_database_that_is_away_drops_nothing() {
    let mut fixture = fixture().await;
    fixture.store.close().await;
    let (_, answer) = fixture.bring("{", true).await;
    assert_eq!(answer, json!({ "status": "RETRY" }));
}

#[tokio::test]
async fn without_the_token_no_peer_brings_events() {
    let fixture = fixture().await;
    for token in [
        None,
        Some(""),
        Some("a token of the ap"),
        Some("a token of the app!"),
    ] {
        let mut request = with_token(token, "{}");
        // What a proxy on this machine would look like.
        request
            .headers_mut()
            .insert(header::HOST, "127.0.0.1:6060".parse().unwrap());
        let status = status(&fixture.router, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token:?}");
    }
    assert!(fixture.rejected().await.is_empty());
    assert_eq!(status(&fixture.router, post("{}")).await, StatusCode::OK);
}

#[tokio::test]
async fn the_subscription_names_what_the_pipeline_has() {
    let fixture = fixture().await;
    let response = fixture.router.oneshot(get_subscription()).await.unwrap();
    let expected = json!([{"pubsubname": "rabbitmq-pubsub", "topic": "kaiten.events", "route": "/events",
        "deadLetterTopic": "kaiten.events.dlq"}]);
    assert_eq!(json_of(response).await, expected);
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let fixture = fixture().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let mut request = post("{}");
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        assert_eq!(
            status(&fixture.router, request).await,
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
    }
}

#[tokio::test]
async fn a_body_without_end_is_dropped_at_its_bound() {
    let mut fixture = fixture().await;
    let (_, answer) = fixture.bring(vec![b' '; BODY_LIMIT + 1], true).await;
    assert_eq!(answer, json!({ "status": "DROP" }));
    assert_eq!(fixture.rejected().await.len(), 1);
}

/// A body whose length its sender does not declare may be as long as any, so two of them do not fit.
#[tokio::test]
async fn a_body_is_read_once_there_is_room_for_its_bytes() {
    let mut fixture = fixture().await;
    let bodies = [fixture.event(), fixture.event()].map(|event| envelope::encode(&event));
    let mut answers = Vec::new();
    for body in bodies {
        answers.push(tokio::spawn(fixture.router.clone().oneshot(post(body))));
    }
    for _ in 0..2 {
        let events = fixture.source.next(10).await.unwrap();
        assert_eq!(events.len(), 1);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(
            fixture.source.arrivals.try_recv().is_err(),
            "there was no room for it"
        );
        fixture.source.acknowledge(&[events[0].id]).await.unwrap();
    }
    for answer in answers {
        let answer = json_of(answer.await.unwrap().unwrap()).await;
        assert_eq!(answer["status"], "SUCCESS");
    }
}
