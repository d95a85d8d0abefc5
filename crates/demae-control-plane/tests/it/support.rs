//! A database with two organizations, each with somebody who may do everything in it.

use demae_control_plane::{
    Actor, DomainError,
    organizations::{self, CreateOrganization},
    token,
};
use demae_event::{Event, Timestamp, catalogue};
use demae_store::{Store, StoreOptions, Transaction, Vault, entity::audit_entry};
use demae_testkit::{postgres::TestDatabase, sqlite::SqliteFile};
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Value, json};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) mine: Actor,
    pub(crate) theirs: Actor,
    // Dropped last.
    _home: Home,
}

pub(crate) enum Home {
    Sqlite { _file: SqliteFile },
    Postgres { _database: TestDatabase },
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let (store, home) = empty_sqlite().await;
        Self::with_organizations(store, home).await
    }

    pub(crate) async fn postgres() -> Self {
        let (store, home) = empty_postgres().await;
        Self::with_organizations(store, home).await
    }

    async fn with_organizations(store: Store, home: Home) -> Self {
        let mine = administrator(&store, "Mine").await;
        let theirs = administrator(&store, "Theirs").await;
        Self {
            store,
            mine,
            theirs,
            _home: home,
        }
    }

    pub(crate) async fn begin(&self) -> Transaction {
        self.store.begin().await.unwrap()
    }

    /// What waits in the outbox.
    pub(crate) async fn events(&self) -> Vec<Event> {
        self.store.engine().read_outbox(100).await.unwrap()
    }

    /// The names of what waits in the outbox.
    pub(crate) async fn event_names(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.name).collect()
    }

    /// That exactly these events of the first organization wait in the outbox, in this order: their names, and the
    /// resources as they are shown. Their `data` follows the schema of the catalogue.
    pub(crate) async fn assert_events(&self, expected: &[(&str, &Value)]) {
        let events = self.events().await;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        let expected_names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected_names);
        for (event, (name, resource)) in events.iter().zip(expected) {
            let definition = catalogue::find(name).unwrap();
            assert_eq!(event.event_type, definition.event_type);
            assert_eq!(
                event.scope,
                demae_event::Scope::default_of(self.mine.organization_id)
            );
            let data: Value = serde_json::from_str(event.data.get()).unwrap();
            let mut shown = (*resource).clone();
            shown["organizationId"] = json!(self.mine.organization_id);
            assert_eq!(data, shown, "{name}");
            let validator = jsonschema::validator_for(definition.schema()).unwrap();
            let faults = validator.iter_errors(&data).map(|error| error.to_string());
            assert_eq!(faults.collect::<Vec<_>>(), [""; 0], "{name}");
        }
    }

    /// The audit trail of both organizations, oldest first.
    pub(crate) async fn audited(&self) -> Vec<audit_entry::Model> {
        audit_entry::Entity::find()
            .order_by_asc(audit_entry::Column::Id)
            .all(self.store.reader())
            .await
            .unwrap()
    }
}

pub(crate) async fn empty_sqlite() -> (Store, Home) {
    let file = SqliteFile::create().unwrap();
    (open(file.url()).await, Home::Sqlite { _file: file })
}

pub(crate) async fn empty_postgres() -> (Store, Home) {
    let database = TestDatabase::create().await.unwrap();
    (open(database.url()).await, Home::Postgres { _database: database })
}

async fn open(url: String) -> Store {
    let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
    let store = Store::connect(StoreOptions::new(url, vault)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn administrator(store: &Store, name: &str) -> Actor {
    let mut transaction = store.begin().await.unwrap();
    let input = CreateOrganization {
        name: name.to_owned(),
        external_id: None,
    };
    let new = organizations::create(&mut transaction, input, NOW).await.unwrap();
    transaction.commit().await.unwrap();
    token::authenticate(store, new.token.as_str(), NOW).await.unwrap()
}

/// The stable code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, DomainError>) -> String {
    result.unwrap_err().code().unwrap().to_string()
}

/// What stands in the way.
pub(crate) fn detail(error: DomainError) -> String {
    match error {
        DomainError::Conflict { detail, .. } => detail,
        other => panic!("{other:?}"),
    }
}

/// The locations of the faults of a refusal.
pub(crate) fn locations<T: std::fmt::Debug>(result: Result<T, DomainError>) -> Vec<String> {
    match result.unwrap_err() {
        DomainError::Invalid { faults, .. } => faults.into_iter().map(|fault| fault.location).collect(),
        other => panic!("{other:?}"),
    }
}
