//! What can go wrong with the database, as far as callers act differently on it.

use sea_orm::{DbErr, SqlErr};

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database this build can open.
    #[error("unsupported database URL: {0}")]
    UnsupportedUrl(String),
    /// A unique constraint refused the row; the caller knows which value was taken.
    #[error("the value is already taken")]
    Conflict(#[source] DbErr),
    /// A row that is still referred to, or refers to nothing.
    #[error("a reference stands in the way")]
    Reference(#[source] DbErr),
    /// A stored value could not be read back: damaged, or sealed with another secret key.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(&'static str),
    /// Another process migrates, or holds the data folder.
    #[error("{0}")]
    Busy(String),
    /// Everything else: the database is away, full, or answered with an error.
    #[error("the database failed")]
    Database(#[source] DbErr),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Busy(_))
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::Conflict(error),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::Reference(error),
            _ => Self::Database(error),
        }
    }
}

impl From<sea_orm::sqlx::Error> for StoreError {
    fn from(error: sea_orm::sqlx::Error) -> Self {
        DbErr::Query(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(error))).into()
    }
}
