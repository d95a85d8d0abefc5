//! Opens stores for tests and looks at their tables.
//!
//! What a test asserts is read through the entities or plain SQL, never through the method under test.

use std::{sync::Arc, time::Duration};

use demae_event::{AttemptId, EndpointId, Event, EventId, OrganizationId, Scope, Timestamp, id::new_uuid};
use demae_store::{
    Backend, Engine, Store, StoreOptions, Vault,
    engine::{LaneRequest, LeaseGrant, LeasedDelivery, Message, NewDelivery, RoutedMessage},
    entity::{attempt, delivery, message},
};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use sea_orm::{ConnectionTrait, EntityTrait, QueryOrder};
use serde_json::value::RawValue;
use uuid::Uuid;

/// "Now" in most tests.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A store on a database of its own.
pub(crate) struct TestStore {
    pub(crate) store: Store,
    /// What a case has two of.
    pub(crate) tenants: Tenants,
    // Dropped after the store.
    home: Home,
}

/// Who must not see each other's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenants {
    Organizations,
    /// Applications of one organization.
    Applications,
}

enum Home {
    Sqlite(SqliteFile),
    Postgres(TestDatabase),
}

impl TestStore {
    pub(crate) async fn sqlite() -> Self {
        Self::empty_sqlite().await.migrated().await
    }

    pub(crate) async fn postgres() -> Self {
        Self::empty_postgres().await.migrated().await
    }

    /// Nothing is migrated yet.
    pub(crate) async fn empty_sqlite() -> Self {
        let file = SqliteFile::create().unwrap();
        Self {
            store: open(file.url()).await,
            tenants: Tenants::Organizations,
            home: Home::Sqlite(file),
        }
    }

    /// Nothing is migrated yet.
    pub(crate) async fn empty_postgres() -> Self {
        let database = TestDatabase::create().await.unwrap();
        Self {
            store: open(database.url()).await,
            tenants: Tenants::Organizations,
            home: Home::Postgres(database),
        }
    }

    async fn migrated(self) -> Self {
        self.store.migrate().await.unwrap();
        self
    }

    /// The same, for a case about two applications of one organization.
    pub(crate) fn of_applications(self) -> Self {
        Self {
            tenants: Tenants::Applications,
            ..self
        }
    }

    /// The same database, opened again as another process would.
    pub(crate) async fn open_again(&self) -> Store {
        open(self.url()).await
    }

    /// How it is opened.
    pub(crate) fn url(&self) -> String {
        match &self.home {
            Home::Sqlite(file) => file.url(),
            Home::Postgres(database) => database.url(),
        }
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        &**self.store.engine()
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.store.backend() == Backend::Postgres
    }

    /// Runs and commits a statement as another program would; answers the database's complaint.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), sea_orm::DbErr> {
        let transaction = self.store.begin().await.unwrap();
        transaction.connection().execute_unprepared(sql).await?;
        transaction.commit().await.unwrap();
        Ok(())
    }

    /// How this database writes a UUID in SQL as the engine stores it.
    pub(crate) fn literal(&self, id: Uuid) -> String {
        if self.is_postgres() {
            format!("'{id}'")
        } else {
            format!("x'{}'", id.simple())
        }
    }

    pub(crate) async fn delivery(&self, endpoint: EndpointId, event: EventId) -> delivery::Model {
        delivery::Entity::find_by_id((endpoint.0, event.0))
            .one(self.store.reader())
            .await
            .unwrap()
            .expect("the delivery exists")
    }

    /// Ordered by endpoint and event.
    pub(crate) async fn deliveries(&self) -> Vec<delivery::Model> {
        delivery::Entity::find()
            .order_by_asc(delivery::Column::EndpointId)
            .order_by_asc(delivery::Column::EventId)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    /// Ordered by id.
    pub(crate) async fn attempts(&self) -> Vec<attempt::Model> {
        attempt::Entity::find()
            .order_by_asc(attempt::Column::Id)
            .all(self.store.reader())
            .await
            .unwrap()
    }

    pub(crate) async fn message(&self, event: EventId) -> Option<message::Model> {
        message::Entity::find_by_id(event.0)
            .one(self.store.reader())
            .await
            .unwrap()
    }

    /// Routes `event` to `endpoints`, where it waits, due at `now`.
    pub(crate) async fn enqueue(&self, event: Event, endpoints: &[EndpointId], now: Timestamp) -> EventId {
        let id = event.id;
        let new = self
            .engine()
            .route(
                &[routed(event, endpoints.iter().map(|endpoint| (*endpoint, None)))],
                grant(Uuid::nil(), now),
            )
            .await
            .unwrap();
        assert_eq!(new, [true]);
        id
    }

    /// Claims what is due of one endpoint.
    pub(crate) async fn claim(
        &self,
        endpoint: EndpointId,
        limit: u32,
        grant: LeaseGrant,
    ) -> Vec<LeasedDelivery> {
        let lanes = [LaneRequest {
            endpoint_id: endpoint,
            limit,
        }];
        self.engine().claim(&lanes, grant).await.unwrap()
    }

    /// One delivery to a new endpoint, leased at [`NOW`] by `worker`.
    pub(crate) async fn leased(&self, worker: Uuid) -> LeasedDelivery {
        let endpoint = new_endpoint();
        self.enqueue(new_event(), &[endpoint], NOW).await;
        let mut leased = self.claim(endpoint, 1, grant(worker, NOW)).await;
        assert_eq!(leased.len(), 1);
        leased.remove(0)
    }
}

pub(crate) async fn open(url: String) -> Store {
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    Store::connect(StoreOptions::new(url, vault)).await.unwrap()
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn new_endpoint() -> EndpointId {
    EndpointId::new(NOW)
}

pub(crate) fn new_attempt() -> AttemptId {
    AttemptId::new(NOW)
}

pub(crate) fn new_worker() -> Uuid {
    new_uuid(NOW)
}

/// An event with a new id.
pub(crate) fn new_event() -> Event {
    Event {
        id: EventId::new(NOW),
        scope: Scope::default_of(OrganizationId::new(NOW)),
        name: "CUSTOMER_CREATION".to_owned(),
        event_type: "com.kaiten.customer.v1.created".to_owned(),
        data: json(r#"{"customer": "Ada"}"#),
        headers: None,
        traceparent: None,
        created_at: NOW,
    }
}

pub(crate) fn new_events(count: usize) -> Vec<Event> {
    (0..count).map(|_| new_event()).collect()
}

/// A lease of 30 seconds.
pub(crate) fn grant(worker: Uuid, now: Timestamp) -> LeaseGrant {
    LeaseGrant {
        worker,
        now,
        until: now + seconds(30),
    }
}

/// `event` on its way to endpoints, leased at once where an attempt is given.
pub(crate) fn routed(
    event: Event,
    endpoints: impl IntoIterator<Item = (EndpointId, Option<AttemptId>)>,
) -> RoutedMessage {
    RoutedMessage {
        deliveries: endpoints
            .into_iter()
            .map(|(endpoint_id, lease)| NewDelivery {
                endpoint_id,
                delivered_name: event.name.clone(),
                lease,
            })
            .collect(),
        message: Arc::new(Message::from(event)),
    }
}
