//! A connection to the database as a program of an application has it, whichever database it is.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection,
    sqlite::SqliteConnectOptions,
};

/// As the documentation tells programs that write into the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open connection.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    pub(super) async fn open(url: &str) -> sqlx::Result<Self> {
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)?.busy_timeout(BUSY_TIMEOUT);
            Ok(Self::Sqlite(options.connect().await?))
        } else {
            Ok(Self::Postgres(PgConnection::connect(url).await?))
        }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Runs a statement whose text is not a client's.
    pub(super) async fn execute(&mut self, sql: String) -> sqlx::Result<()> {
        let query = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => sqlx::query(query).execute(connection).await.map(drop),
            Self::Postgres(connection) => sqlx::query(query).execute(connection).await.map(drop),
        }
    }

    /// The rows of a question whose text is not a client's; its two columns are bytes.
    pub(super) async fn pairs(&mut self, sql: String) -> sqlx::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let query = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => sqlx::query_as(query).fetch_all(connection).await,
            Self::Postgres(connection) => sqlx::query_as(query).fetch_all(connection).await,
        }
    }

    /// The answer to a question for one number.
    pub(super) async fn number(&mut self, sql: String) -> sqlx::Result<i64> {
        let query = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
        }
    }

    /// Writes one event in a transaction of its own.
    pub(super) async fn write_event(&mut self, organization: &str, payload: &str) -> sqlx::Result<()> {
        const SQLITE: &str = "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
                              VALUES ($1, 'PARCEL_SENT', 'com.example.parcel.v1.sent', $2)";
        const POSTGRES: &str = "INSERT INTO outbox_events (organization_id, event_name, event_type, payload) \
                                VALUES ($1::uuid, 'PARCEL_SENT', 'com.example.parcel.v1.sent', $2::jsonb)";
        match self {
            Self::Sqlite(connection) => sqlx::query(SQLITE)
                .bind(organization)
                .bind(payload)
                .execute(connection)
                .await
                .map(drop),
            Self::Postgres(connection) => sqlx::query(POSTGRES)
                .bind(organization)
                .bind(payload)
                .execute(connection)
                .await
                .map(drop),
        }
    }

    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}
