//! The schema, in the order in which it grew.
//!
//! Migrations are written once with the schema builder and run on both databases. They only ever add (expand first,
//! contract in a later release), so that a new process can migrate while an old one still serves.

mod m0001_tenants;
mod m0002_engine;
mod m0003_management;
mod m0004_domains;
mod m0005_rejected;
mod m0006_timers;
mod table;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait};

use crate::{Backend, StoreError};

/// Key of the Postgres advisory lock that one migrating process holds: "demae" in ASCII.
const LOCK: i64 = 0x0064_656d_6165;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_tenants::Migration),
            Box::new(m0002_engine::Migration),
            Box::new(m0003_management::Migration),
            Box::new(m0004_domains::Migration),
            Box::new(m0005_rejected::Migration),
            Box::new(m0006_timers::Migration),
        ]
    }
}

/// Applies what is missing, in one transaction, while holding the lock that makes other processes wait.
pub(crate) async fn run(backend: Backend, connection: &DatabaseConnection) -> Result<(), StoreError> {
    let options = TransactionOptions {
        // SQLite's own write lock is the lock.
        sqlite_transaction_mode: (backend == Backend::Sqlite).then_some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = connection.begin_with_options(options).await?;
    if backend == Backend::Postgres {
        transaction
            .execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})"))
            .await?;
    }
    Migrator::up(&transaction, None).await?;
    transaction.commit().await?;
    Ok(())
}

/// The names of what [`run`] would apply.
pub(crate) async fn pending(connection: &DatabaseConnection) -> Result<Vec<String>, StoreError> {
    let pending = Migrator::get_pending_migrations_read_only(connection).await?;
    Ok(pending
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect())
}
