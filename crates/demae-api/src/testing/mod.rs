//! The router of some surfaces over a real database, for tests: of this crate, and of surfaces with the feature `testing`.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared is a failed test")]

mod hostile;
pub mod walk;

use std::sync::Arc;

use axum::{Router, body::Body};
use demae_control_plane::organizations::{self, CreateOrganization};
use demae_delivery::management::{Management, Rules};
use demae_event::{OrganizationId, Timestamp, clock::ManualClock};
use demae_store::{Store, StoreOptions, Vault};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::{ApiState, GroupCommit, GroupCommitOptions, Limits, Surface, ingest::Committers, router};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A router, its database and a token that may do everything in one organization.
pub struct TestApi {
    /// The router.
    pub router: Router,
    /// The database.
    pub store: Store,
    /// The time that requests see.
    pub clock: Arc<ManualClock>,
    /// The token.
    pub token: String,
    organization: OrganizationId,
    state: ApiState,
    _committers: Committers,
    _database: Database,
}

/// Which database to make.
#[derive(Debug, Clone, Copy)]
pub enum TestStore {
    /// A file.
    Sqlite,
    /// A database of the tests' own server.
    Postgres {
        /// Connections for requests; as many as by default if none.
        connections: Option<u32>,
    },
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
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Reply {
    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The locations of the faults.
    pub fn locations(&self) -> Vec<String> {
        let document = self.json();
        let faults = document["errors"].as_array().cloned().unwrap_or_default();
        faults
            .iter()
            .map(|fault| fault["location"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl TestApi {
    /// On a new database of this kind, with these surfaces.
    pub async fn start(database: TestStore, limits: Limits, surfaces: Vec<Surface>) -> Self {
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let (database, connections) = match database {
            TestStore::Sqlite => (Database::Sqlite(SqliteFile::create().unwrap()), None),
            TestStore::Postgres { connections } => (
                Database::Postgres(TestDatabase::create().await.unwrap()),
                connections,
            ),
        };
        let mut options = StoreOptions::new(database.url(), vault);
        options.connections = connections.unwrap_or(options.connections);
        Self::with_options(options, database, limits, surfaces).await
    }

    async fn with_options(
        options: StoreOptions,
        database: Database,
        limits: Limits,
        surfaces: Vec<Surface>,
    ) -> Self {
        let store = Store::connect(options).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let (sink, committers) = GroupCommit::start(store.engine(), GroupCommitOptions::default());
        let management = Management::new(store.clone(), Rules::default());
        let state = ApiState::new(store.clone(), management, clock.clone(), Arc::new(sink), limits);
        let (organization, token) = new_organization(&store, "First").await;
        Self {
            router: router(state.clone(), surfaces),
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
    pub async fn other_token(&self) -> String {
        new_organization(&self.store, "Other").await.1
    }

    /// The organization of the token.
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// What the handlers share.
    pub fn state(&self) -> ApiState {
        self.state.clone()
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    /// Creates.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A request with the token.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.call_as(&self.token, method, path, body).await
    }

    /// A request with another token.
    pub async fn call_as(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request(method, path, token).body(body).unwrap()).await
    }

    /// A repeatable POST.
    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.call_with_key(&self.token, Method::POST, (path, key), Some(body.clone()))
            .await
    }

    /// A repeatable request.
    pub async fn call_with_key(
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

    /// Any request.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        Self::send_to(self.router.clone(), request).await
    }

    /// Any request to another router.
    pub async fn send_to(router: Router, request: Request<Body>) -> Reply {
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
pub fn request(method: Method, path: &str, token: &str) -> http::request::Builder {
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
