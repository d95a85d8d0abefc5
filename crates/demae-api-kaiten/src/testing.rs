//! This surface over a real database, for this crate's tests.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

pub(crate) use demae_api::testing::{Reply, START, request};
use demae_api::{
    Limits,
    testing::{self, TestStore},
};
use demae_event::{AttemptId, EndpointId};
use demae_store::engine::{
    AttemptRecord, AttemptStatus, DeliveryState, Disposition, LeaseGrant, Message, NewDelivery, RoutedMessage,
};
use uuid::Uuid;

/// A router of this surface, its database and a token that may do everything in one organization.
pub(crate) struct TestApi(testing::TestApi);

impl Deref for TestApi {
    type Target = testing::TestApi;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for TestApi {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl TestApi {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::over(TestStore::Sqlite, limits).await
    }

    pub(crate) async fn on_postgres() -> Self {
        Self::over(TestStore::Postgres { connections: None }, Limits::default()).await
    }

    /// With so many connections for requests.
    pub(crate) async fn on_postgres_with(connections: u32) -> Self {
        let connections = Some(connections);
        Self::over(TestStore::Postgres { connections }, Limits::default()).await
    }

    async fn over(database: TestStore, limits: Limits) -> Self {
        Self(testing::TestApi::start(database, limits, vec![crate::surface()]).await)
    }

    /// A webhook for everything; answers its id.
    pub(crate) async fn new_webhook(&self) -> String {
        let body = serde_json::json!({"url": "https://example.com/hook", "eventNames": ["*"]});
        let reply = self.post("/api/webhooks", body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// Does what router, sender and recorder would do with the oldest event: one attempt at `webhook`, which fails for
    /// good. Answers the attempt's id.
    pub(crate) async fn attempt_oldest_event(&self, webhook: &str) -> AttemptId {
        let engine = self.store.engine();
        let event = engine.read_outbox(1).await.unwrap().remove(0);
        let (endpoint_id, lease) = (webhook.parse::<EndpointId>().unwrap(), AttemptId::new(START));
        let message = Arc::new(Message::from(event.clone()));
        let delivered_name = event.name.clone();
        let deliveries = vec![NewDelivery {
            endpoint_id,
            delivered_name,
            lease: Some(lease),
        }];
        let grant = LeaseGrant {
            worker: Uuid::new_v4(),
            now: START,
            until: START + Duration::from_mins(1),
        };
        engine
            .route(&[RoutedMessage { message, deliveries }], grant)
            .await
            .unwrap();
        let record = AttemptRecord {
            id: lease,
            scope: event.scope,
            endpoint_id,
            event_id: event.id,
            event_name: event.name,
            number: 1,
            manual: false,
            status: AttemptStatus::Failed,
            disposition: Disposition::Finish(DeliveryState::Failed),
            step: 1,
            url: "https://example.com/hook".to_owned(),
            http_status: Some(500),
            error_kind: Some("status"),
            error_detail: Some("the endpoint answered 500".to_owned()),
            request_headers: r#"{"webhook-id":"msg_x"}"#.to_owned(),
            response_headers: r#"{"server":"broken"}"#.to_owned(),
            response_body: "oh no".to_owned(),
            duration_ms: 12,
            started_at: START,
        };
        assert_eq!(engine.record(&[record]).await.unwrap(), [true]);
        lease
    }
}
