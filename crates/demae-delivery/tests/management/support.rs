//! A database with two organizations, or two applications of one, and short words for what tests do in it.

use std::{sync::Arc, time::Duration};

use demae_delivery::{
    engine::timers::Runner,
    management::{
        Endpoint, EndpointInput, Management, ManagementError, Retention, Rules, recovery, retention,
    },
};
use demae_event::{
    ApplicationId, AttemptId, EndpointId, Event, EventId, OrganizationId, Scope, Timestamp,
    clock::ManualClock,
};
use demae_store::{
    Store, StoreOptions, Transaction, Vault,
    engine::{
        AttemptRecord, AttemptStatus, DeliveryState, Disposition, LaneRequest, LeaseGrant, LeasedDelivery,
    },
    entity::{application, delivery, organization},
    repository::{
        applications,
        deliveries::{self, Planned},
        messages, organizations,
    },
};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use sea_orm::EntityTrait;
use serde_json::value::RawValue;
use uuid::Uuid;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) management: Management,
    pub(crate) mine: Scope,
    pub(crate) theirs: Scope,
    // Dropped last.
    home: Home,
}

enum Home {
    Sqlite { file: SqliteFile },
    Postgres { database: TestDatabase },
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let file = SqliteFile::create().unwrap();
        Self::open(file.url(), Home::Sqlite { file }).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::create().await.unwrap();
        Self::open(database.url(), Home::Postgres { database }).await
    }

    async fn open(url: String, home: Home) -> Self {
        let store = connect(url).await;
        store.migrate().await.unwrap();
        let (mine, theirs) = (
            Scope::default_of(organization(&store, "Mine").await),
            Scope::default_of(organization(&store, "Theirs").await),
        );
        let management = Management::new(store.clone(), Rules::default());
        Self {
            store,
            management,
            mine,
            theirs,
            home,
        }
    }

    /// The same with two applications of one organization. The second is the default one: what is written without an
    /// application must not reach the first.
    pub(crate) async fn of_applications(self) -> Self {
        let organization = self.theirs.organization;
        Self {
            mine: application(&self.store, organization).await,
            ..self
        }
    }

    /// The same database, opened again as another process would.
    pub(crate) async fn open_again(&self) -> Store {
        connect(match &self.home {
            Home::Sqlite { file } => file.url(),
            Home::Postgres { database } => database.url(),
        })
        .await
    }

    /// Runs the engine's own timers, until nothing is due at `now`.
    pub(crate) async fn run_timers(&self, retention: Retention, now: Timestamp) {
        let runner = self.runner(retention, now).await;
        retention::ensure_timers(&self.store, now).await.unwrap();
        while runner.run_due().await.unwrap() > 0 {}
    }

    /// A runner of the engine's own timers, whose clock stands still.
    pub(crate) async fn runner(&self, retention: Retention, now: Timestamp) -> Runner {
        let worker = Uuid::new_v4();
        self.store.engine().heartbeat(worker, now).await.unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let kinds = vec![
            recovery::timer_kind(self.store.clone()),
            retention::timer_kind(self.store.clone(), retention, clock.clone()),
        ];
        Runner::new(self.store.clone(), clock, worker, kinds)
    }

    pub(crate) async fn begin(&self) -> Transaction {
        self.store.begin().await.unwrap()
    }

    pub(crate) async fn create(
        &self,
        scope: Scope,
        input: EndpointInput,
    ) -> Result<Endpoint, ManagementError> {
        let mut transaction = self.begin().await;
        let endpoint = self
            .management
            .create_endpoint(&mut transaction, scope, input, NOW)
            .await?;
        transaction.commit().await.unwrap();
        Ok(endpoint)
    }

    /// An endpoint of mine that wants everything.
    pub(crate) async fn endpoint(&self) -> Endpoint {
        self.create(self.mine, input("https://example.com/hook", &["*"]))
            .await
            .unwrap()
    }

    /// A message of mine.
    pub(crate) async fn message(&self, event: &Event) {
        let mut transaction = self.begin().await;
        assert!(messages::insert(&mut transaction, event).await.unwrap());
        transaction.commit().await.unwrap();
    }

    /// A message of mine that waits for an endpoint.
    pub(crate) async fn waiting(&self, endpoint: EndpointId) -> EventId {
        let event = self.event(NOW);
        self.message(&event).await;
        let mut transaction = self.begin().await;
        let planned = vec![Planned {
            event_id: event.id,
            delivered_name: "CUSTOMER_CREATED".to_owned(),
        }];
        deliveries::insert(&mut transaction, self.mine, endpoint, planned, NOW)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        event.id
    }

    /// An event of mine that is nowhere yet.
    pub(crate) fn event(&self, created_at: Timestamp) -> Event {
        Event {
            id: EventId::new(created_at),
            scope: self.mine,
            name: "CUSTOMER_CREATION".to_owned(),
            event_type: "com.kaiten.customer.v1.created".to_owned(),
            data: json(r#"{"z": 1.50, "a": "ö"}"#),
            headers: Some(json(r#"{"instance_id":"i"}"#)),
            traceparent: None,
            created_at,
        }
    }

    /// Leases what is due of an endpoint.
    pub(crate) async fn claim(&self, endpoint: EndpointId) -> Vec<LeasedDelivery> {
        self.claim_at(endpoint, NOW).await
    }

    /// Leases what is due of an endpoint at that time.
    pub(crate) async fn claim_at(&self, endpoint: EndpointId, now: Timestamp) -> Vec<LeasedDelivery> {
        let grant = LeaseGrant {
            worker: Uuid::nil(),
            now,
            until: now + seconds(30),
        };
        self.store
            .engine()
            .claim(
                &[LaneRequest {
                    endpoint_id: endpoint,
                    limit: 500,
                }],
                grant,
            )
            .await
            .unwrap()
    }

    /// Records how a leased attempt ended.
    pub(crate) async fn record(
        &self,
        leased: &LeasedDelivery,
        status: AttemptStatus,
        disposition: Disposition,
    ) -> AttemptId {
        let record = AttemptRecord {
            id: leased.lease,
            scope: leased.message.scope,
            endpoint_id: leased.endpoint_id,
            event_id: leased.message.event_id,
            event_name: leased.message.event_name.clone(),
            number: leased.attempts + 1,
            manual: leased.manual,
            status,
            disposition,
            step: leased.step + 1,
            url: "https://example.com/hook".to_owned(),
            http_status: Some(503),
            error_kind: Some("http_status"),
            error_detail: None,
            request_headers: "{}".to_owned(),
            response_headers: "{}".to_owned(),
            response_body: String::new(),
            duration_ms: 3,
            started_at: NOW,
        };
        assert_eq!(self.store.engine().record(&[record]).await.unwrap(), [true]);
        leased.lease
    }

    /// A delivery of mine that failed for good, and its attempt.
    pub(crate) async fn failed(&self, endpoint: EndpointId) -> (EventId, AttemptId) {
        let event = self.waiting(endpoint).await;
        let leased = self.claim(endpoint).await;
        let disposition = Disposition::Finish(DeliveryState::Failed);
        (
            event,
            self.record(&leased[0], AttemptStatus::Failed, disposition).await,
        )
    }

    pub(crate) async fn delivery(&self, endpoint: EndpointId, event: EventId) -> Option<delivery::Model> {
        delivery::Entity::find_by_id((endpoint.0, event.0))
            .one(self.store.reader())
            .await
            .unwrap()
    }

    /// What waits in the outbox.
    pub(crate) async fn outbox(&self) -> Vec<Event> {
        self.store.engine().read_outbox(100).await.unwrap()
    }
}

async fn connect(url: String) -> Store {
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    Store::connect(StoreOptions::new(url, vault)).await.unwrap()
}

async fn organization(store: &Store, name: &str) -> OrganizationId {
    let id = OrganizationId::new(NOW);
    let row = organization::Model {
        id: id.0,
        external_id: None,
        name: name.to_owned(),
        created_at: NOW.as_micros(),
    };
    let mut transaction = store.begin().await.unwrap();
    assert!(organizations::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    id
}

async fn application(store: &Store, organization: OrganizationId) -> Scope {
    let id = ApplicationId::new(NOW);
    let row = application::Model {
        id: id.0,
        organization_id: organization.0,
        uid: None,
        name: "Mine".to_owned(),
        version: 0,
        created_at: NOW.as_micros(),
        updated_at: NOW.as_micros(),
        deleted_at: None,
    };
    let mut transaction = store.begin().await.unwrap();
    assert!(applications::insert(&mut transaction, row).await.unwrap());
    transaction.commit().await.unwrap();
    Scope::new(organization, Some(id))
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn input(url: &str, event_names: &[&str]) -> EndpointInput {
    EndpointInput {
        url: url.to_owned(),
        event_names: owned(event_names),
        ..EndpointInput::default()
    }
}

pub(crate) fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The stable code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ManagementError>) -> String {
    match result.unwrap_err() {
        ManagementError::NotFound { code, .. }
        | ManagementError::Conflict { code, .. }
        | ManagementError::Invalid { code, .. } => code.to_string(),
        other @ ManagementError::Store(_) => panic!("{other:?}"),
    }
}

/// The locations of the faults of a refusal.
pub(crate) fn locations<T: std::fmt::Debug>(result: Result<T, ManagementError>) -> Vec<String> {
    match result.unwrap_err() {
        ManagementError::Invalid { faults, .. } => faults.into_iter().map(|fault| fault.location).collect(),
        other => panic!("{other:?}"),
    }
}
