//! The whole router over a real database, for this crate's tests.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use demae_control_plane::organizations::{self, CreateOrganization};
use demae_delivery::management::{Management, Rules};
use demae_event::{AttemptId, EndpointId, OrganizationId, Timestamp, clock::ManualClock};
use demae_store::{
    Store, StoreOptions, Vault,
    engine::{
        AttemptRecord, AttemptStatus, DeliveryState, Disposition, LeaseGrant, Message, NewDelivery,
        RoutedMessage,
    },
};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{ApiState, GroupCommit, GroupCommitOptions, Limits, ingest::Committers, router};

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A router, its database and a token that may do everything in one organization.
pub(crate) struct TestApi {
    pub(crate) router: Router,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) token: String,
    organization: OrganizationId,
    state: ApiState,
    _committers: Committers,
    _database: Database,
}

/// Gone with the value.
enum Database {
    Sqlite(SqliteFile),
    Postgres(TestDatabase),
}

impl Database {
    fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => file.url(),
            Self::Postgres(database) => database.url(),
        }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The locations of the faults.
    pub(crate) fn locations(&self) -> Vec<String> {
        let document = self.json();
        let faults = document["errors"].as_array().cloned().unwrap_or_default();
        faults
            .iter()
            .map(|fault| fault["location"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl TestApi {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::over(Database::Sqlite(SqliteFile::create().unwrap()), limits).await
    }

    pub(crate) async fn on_postgres() -> Self {
        let database = Database::Postgres(TestDatabase::create().await.unwrap());
        Self::over(database, Limits::default()).await
    }

    /// With so many connections for requests.
    pub(crate) async fn on_postgres_with(connections: u32) -> Self {
        let database = Database::Postgres(TestDatabase::create().await.unwrap());
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let options = StoreOptions {
            connections,
            ..StoreOptions::new(database.url(), vault)
        };
        Self::with_options(options, database, Limits::default()).await
    }

    async fn over(database: Database, limits: Limits) -> Self {
        let options = StoreOptions::new(database.url(), Vault::from_text(&Vault::generate_text()).unwrap());
        Self::with_options(options, database, limits).await
    }

    async fn with_options(options: StoreOptions, database: Database, limits: Limits) -> Self {
        let store = Store::connect(options).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let (sink, committers) = GroupCommit::start(store.engine(), GroupCommitOptions::default());
        let management = Management::new(store.clone(), Rules::default());
        let state = ApiState::new(store.clone(), management, clock.clone(), Arc::new(sink), limits);
        let (organization, token) = new_organization(&store, "First").await;
        Self {
            router: router(state.clone()),
            state,
            organization,
            store,
            clock,
            token,
            _committers: committers,
            _database: database,
        }
    }

    /// A token of another organization.
    pub(crate) async fn other_token(&self) -> String {
        new_organization(&self.store, "Other").await.1
    }

    pub(crate) fn organization(&self) -> OrganizationId {
        self.organization
    }

    pub(crate) fn state(&self) -> ApiState {
        self.state.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.call_as(&self.token, method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request(method, path, token).body(body).unwrap()).await
    }

    /// A repeatable POST.
    pub(crate) async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.call_with_key(&self.token, Method::POST, (path, key), Some(body.clone()))
            .await
    }

    /// A repeatable request.
    pub(crate) async fn call_with_key(
        &self,
        token: &str,
        method: Method,
        (path, key): (&str, &str),
        body: Option<Value>,
    ) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request(method, path, token).header("idempotency-key", key);
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Self::send_to(self.router.clone(), request).await
    }

    pub(crate) async fn send_to(router: Router, request: Request<Body>) -> Reply {
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}

/// A JSON request with a token.
pub(crate) fn request(method: Method, path: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
}

async fn new_organization(store: &Store, name: &str) -> (OrganizationId, String) {
    let mut transaction = store.begin().await.unwrap();
    let input = CreateOrganization {
        name: name.to_owned(),
        external_id: None,
    };
    let new = organizations::create(&mut transaction, input, START)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    (new.organization.id, new.token.as_str().to_owned())
}

impl TestApi {
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
            organization_id: event.organization_id,
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
