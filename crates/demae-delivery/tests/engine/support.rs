//! An engine on a fresh database, with an organization to publish for.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use demae_delivery::{
    client::{AddressPolicy, ClientSettings, DeliveryClient, Lookup, Resolve, ResolveError, SystemResolver},
    engine::{EventSource, OutboxSource, Settings, Worker},
    policy::RetrySchedule,
};
use demae_event::{
    ApplicationId, Clock, EndpointId, Event, EventId, OrganizationId, Scope, SystemClock, Timestamp,
};
use demae_signature::standard::SigningKey;
use demae_store::{
    Store, StoreOptions, Vault,
    engine::{AttemptStatus, DeliveryState},
    entity::{application, attempt, delivery, organization},
    repository::{applications, endpoints, organizations},
};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::value::RawValue;
use tokio::time::Instant;

/// Where a test's tables are.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    fn url(&self) -> String;
}

pub(crate) struct OnSqlite(SqliteFile);
pub(crate) struct OnPostgres(pub(crate) TestDatabase);

impl Database for OnSqlite {
    fn url(&self) -> String {
        self.0.url()
    }
}

impl Database for OnPostgres {
    fn url(&self) -> String {
        self.0.url()
    }
}

pub(crate) async fn sqlite() -> Box<dyn Database> {
    Box::new(OnSqlite(SqliteFile::create().unwrap()))
}

pub(crate) async fn postgres() -> Box<dyn Database> {
    Box::new(OnPostgres(TestDatabase::create().await.unwrap()))
}

/// Runs the same test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// An organization with a store; engines can be started on it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) scope: Scope,
    pub(crate) database: Box<dyn Database>,
    pub(crate) vault: Vault,
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

impl Bench {
    pub(crate) async fn new(database: Box<dyn Database>) -> Self {
        let vault = Vault::from_text(&Vault::generate_text()).unwrap();
        let store = Store::connect(StoreOptions::new(database.url(), vault.clone()))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let scope = Scope::default_of(new_organization(&store).await);
        Self {
            store,
            scope,
            database,
            vault,
        }
    }

    /// One more organization.
    pub(crate) async fn other_organization(&self) -> Scope {
        Scope::default_of(new_organization(&self.store).await)
    }

    /// One more application of the organization.
    pub(crate) async fn other_application(&self) -> Scope {
        let id = ApplicationId::new(now());
        let row = application::Model {
            id: id.0,
            organization_id: self.scope.organization.0,
            uid: None,
            name: "Other".to_owned(),
            version: 0,
            created_at: now().as_micros(),
            updated_at: now().as_micros(),
            deleted_at: None,
        };
        let mut transaction = self.store.begin().await.unwrap();
        assert!(applications::insert(&mut transaction, row).await.unwrap());
        transaction.commit().await.unwrap();
        Scope::new(self.scope.organization, Some(id))
    }

    /// Another process's view of the same database.
    pub(crate) async fn second_store(&self) -> Store {
        self.store_at(self.database.url()).await
    }

    /// The same over another line.
    pub(crate) async fn store_at(&self, url: String) -> Store {
        Store::connect(StoreOptions::new(url, self.vault.clone()))
            .await
            .unwrap()
    }

    pub(crate) async fn endpoint(
        &self,
        url: &str,
        change: impl FnOnce(&mut endpoints::Endpoint),
    ) -> EndpointId {
        let mut endpoint = endpoints::Endpoint {
            id: EndpointId::new(now()),
            scope: self.scope,
            url: url.to_owned(),
            event_names: vec!["*".to_owned()],
            name: String::new(),
            description: String::new(),
            headers: BTreeMap::new(),
            public_headers: Vec::new(),
            rate_limit: None,
            timeout_seconds: 5,
            retry_schedule: None,
            enabled: true,
            dialect: "standard".to_owned(),
            metadata: BTreeMap::new(),
            secret: SigningKey::generate_hmac().secret_text(),
            previous_secrets: Vec::new(),
            failing_since: None,
            failing_notified_at: None,
            disabled_reason: None,
            created_at: now(),
            updated_at: now(),
        };
        change(&mut endpoint);
        let mut transaction = self.store.begin().await.unwrap();
        assert!(
            endpoints::insert(&mut transaction, &self.vault, &endpoint, 10_000)
                .await
                .unwrap()
        );
        transaction.commit().await.unwrap();
        endpoint.id
    }

    pub(crate) fn event(&self, number: usize) -> Event {
        Event {
            id: EventId::new(now()),
            scope: self.scope,
            name: "CUSTOMER_CREATION".to_owned(),
            event_type: "com.kaiten.customer.v1.created".to_owned(),
            data: RawValue::from_string(format!(r#"{{"number": {number}}}"#)).unwrap(),
            headers: None,
            traceparent: None,
            created_at: now(),
        }
    }

    /// Publishes events numbered from `from`.
    pub(crate) async fn publish(&self, numbers: std::ops::Range<usize>) -> Vec<Event> {
        let events: Vec<Event> = numbers.map(|number| self.event(number)).collect();
        self.store.engine().append(&events).await.unwrap();
        events
    }

    /// Publishes events of another organization or application.
    pub(crate) async fn publish_for(&self, scope: Scope, numbers: std::ops::Range<usize>) {
        let mut events: Vec<Event> = numbers.map(|number| self.event(number)).collect();
        for event in &mut events {
            event.scope = scope;
        }
        self.store.engine().append(&events).await.unwrap();
    }

    pub(crate) async fn start(&self, settings: Settings) -> Worker {
        start(self.store.clone(), settings).await
    }

    pub(crate) async fn deliveries(&self, endpoint: EndpointId) -> Vec<delivery::Model> {
        delivery::Entity::find()
            .filter(delivery::Column::EndpointId.eq(endpoint.0))
            .all(self.store.reader())
            .await
            .unwrap()
    }

    pub(crate) async fn attempts(&self, endpoint: EndpointId) -> Vec<attempt::Model> {
        attempt::Entity::find()
            .filter(attempt::Column::EndpointId.eq(endpoint.0))
            .order_by_asc(attempt::Column::Id)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    /// How many attempts of any endpoint ended with an error.
    pub(crate) async fn attempts_with_errors(&self) -> u64 {
        use sea_orm::PaginatorTrait as _;
        attempt::Entity::find()
            .filter(attempt::Column::ErrorKind.is_not_null())
            .count(self.store.reader())
            .await
            .unwrap()
    }

    /// After a drain: how many deliveries of the endpoint are in this state.
    pub(crate) async fn in_state(&self, endpoint: EndpointId, state: DeliveryState) -> usize {
        self.deliveries(endpoint)
            .await
            .iter()
            .filter(|delivery| delivery.state == state as i16)
            .count()
    }
}

async fn new_organization(store: &Store) -> OrganizationId {
    let organization = OrganizationId::new(now());
    let mut transaction = store.begin().await.unwrap();
    let row = organization::Model {
        id: organization.0,
        external_id: None,
        name: "Test".to_owned(),
        created_at: now().as_micros(),
    };
    organizations::insert(&mut transaction, row).await.unwrap();
    transaction.commit().await.unwrap();
    organization
}

/// Settings with a schedule of these waits, in seconds.
pub(crate) fn schedule(seconds: &[u64]) -> Settings {
    Settings {
        schedule: RetrySchedule::from_seconds(seconds).unwrap(),
        ..Settings::default()
    }
}

pub(crate) async fn start(store: Store, settings: Settings) -> Worker {
    let source = OutboxSource::new(store.engine().clone(), Duration::from_millis(50));
    start_on(store, settings, vec![Box::new(source)]).await
}

/// A worker that only delivers what others routed.
pub(crate) async fn start_without_sources(store: Store, settings: Settings) -> Worker {
    start_on(store, settings, Vec::new()).await
}

/// A worker with this source of events.
pub(crate) async fn start_from(store: Store, settings: Settings, source: Box<dyn EventSource>) -> Worker {
    start_on(store, settings, vec![source]).await
}

/// A worker that routes the outbox and finds the addresses of hosts in its own way.
pub(crate) async fn start_resolving(store: Store, settings: Settings, resolver: Arc<dyn Resolve>) -> Worker {
    let source = OutboxSource::new(store.engine().clone(), Duration::from_millis(50));
    start_with(store, settings, vec![Box::new(source)], resolver).await
}

/// A name server that knows one name inside, and no other.
pub(crate) struct Names;

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> Result<Lookup, ResolveError> {
        match host {
            "inside.test" => Ok(vec![IpAddr::from([10, 0, 0, 1])].into()),
            _ => Err(ResolveError::NotFound),
        }
    }
}

async fn start_on(store: Store, settings: Settings, sources: Vec<Box<dyn EventSource>>) -> Worker {
    let resolver = Arc::new(SystemResolver::from_system().unwrap());
    start_with(store, settings, sources, resolver).await
}

async fn start_with(
    store: Store,
    settings: Settings,
    sources: Vec<Box<dyn EventSource>>,
    resolver: Arc<dyn Resolve>,
) -> Worker {
    let loopback = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let client_settings = ClientSettings {
        policy: AddressPolicy::new(loopback),
        ..ClientSettings::default()
    };
    let client = DeliveryClient::new(&client_settings, resolver).unwrap();
    Worker::start(settings, store, client, Arc::new(SystemClock), sources)
        .await
        .unwrap()
}

/// For recording and releasing at the end of a worker, on a busy machine.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn drain(worker: Worker) {
    let now = Instant::now();
    worker
        .drain(now + Duration::from_secs(10), now + DRAIN_LIMIT)
        .await
        .unwrap();
}

pub(crate) fn numbers(bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<usize> {
    bodies
        .into_iter()
        .map(|body| {
            let envelope: serde_json::Value = serde_json::from_slice(body.as_ref()).unwrap();
            envelope["data"]["number"].as_u64().unwrap() as usize
        })
        .collect()
}

pub(crate) fn status_of(attempt: &attempt::Model) -> AttemptStatus {
    AttemptStatus::from_number(attempt.status).unwrap()
}

/// An address on which nothing listens.
pub(crate) fn closed_url() -> String {
    let listener = std::net::TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}
