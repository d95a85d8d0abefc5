//! Classifies what can go wrong with the database, as far as callers act differently on it.

use sea_orm::{
    DbErr, RuntimeErr, SqlErr,
    sqlx::{self, error::UnexpectedNullError},
};

/// The encoding of databases that Demae uses, as Postgres calls it.
pub const ENCODING: &str = "UTF8";

/// A failed database operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database this build can open.
    #[error("unsupported database URL: {0}")]
    UnsupportedUrl(String),
    /// The database cannot hold every text: see [`crate::connect`].
    #[error(
        "the database {database} has the encoding {encoding}; Demae needs {}, which holds every character",
        ENCODING
    )]
    Encoding {
        /// The database's name.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// Other users of this machine can read the SQLite file.
    #[error("the database file {} can be read by other users (mode {mode:o})", .path.display())]
    Exposed {
        /// The file.
        path: std::path::PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A unique constraint refused the row; the caller knows which value was taken.
    #[error("the value is already taken")]
    Conflict(#[source] DbErr),
    /// A row that is still referred to, or refers to nothing.
    #[error("a reference stands in the way")]
    Reference(#[source] DbErr),
    /// The database refused a value: out of range, too large, against a constraint, not representable.
    #[error("the database refused a value")]
    Value(#[source] DbErr),
    /// A stored value could not be read back: damaged, or sealed with another secret key.
    #[error("a stored value cannot be read: {0}")]
    Unreadable(&'static str),
    /// A column holds what its type does not allow. The source names the column.
    #[error("a stored row cannot be read")]
    Undecodable(#[source] DbErr),
    /// Another process migrates, or holds the data folder.
    #[error("{0}")]
    Busy(String),
    /// Everything else: the database is away, full, or answered with an error.
    #[error("the database failed")]
    Database(#[source] DbErr),
}

impl StoreError {
    /// An error for which [`StoreError::is_data_error`] holds, for tests of what callers do.
    #[doc(hidden)]
    pub fn refusal(reason: &str) -> Self {
        Self::Value(DbErr::Custom(reason.to_owned()))
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Busy(_))
    }

    /// Whether a value of the call was refused. Nothing was written, and the same call fails again. If the call wrote
    /// several rows, one of them is the cause, and the others succeed without it.
    pub fn is_data_error(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Reference(_) | Self::Value(_))
    }

    /// Whether a stored row, not the database, is at fault. The same call fails again until the row is gone.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Undecodable(_))
    }

    /// What is wrong, with its cause, in one line for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Value(cause)
            | Self::Undecodable(cause)
            | Self::Conflict(cause)
            | Self::Reference(cause) => {
                // SeaORM's own words add nothing to the library's.
                match sqlx_error(cause) {
                    Some(sqlx::Error::ColumnDecode { index, source })
                        if source.is::<UnexpectedNullError>() =>
                    {
                        format!("{self}: column {index} is empty or has another form")
                    }
                    Some(sqlx::Error::ColumnDecode { index, source }) => {
                        format!("{self}: column {index}: {source}")
                    }
                    Some(cause) => format!("{self}: {cause}"),
                    None => format!("{self}: {cause}"),
                }
            }
            other => other.to_string(),
        }
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause),
        _ => None,
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => return Self::Conflict(error),
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => return Self::Reference(error),
            _ => {}
        }
        match (sqlx_error(&error), &error) {
            (Some(sqlx::Error::Database(answer)), _)
                if answer.code().is_some_and(|code| refuses_value(&code)) =>
            {
                Self::Value(error)
            }
            (Some(sqlx::Error::Encode(_)), _) => Self::Value(error),
            (Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)), _)
            | (None, DbErr::Type(_) | DbErr::Json(_)) => Self::Undecodable(error),
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DbErr::Query(RuntimeErr::SqlxError(std::sync::Arc::new(error))).into()
    }
}

/// Whether an error code blames a value. Postgres answers with a SQLSTATE of five characters, SQLite with a number.
fn refuses_value(code: &str) -> bool {
    if code.len() == 5 {
        // Data exception, integrity constraint violation, program limit exceeded.
        return ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    }
    // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH; the extended codes have them in the lowest byte.
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_blame_a_value() {
        for code in [
            "22021", "22P05", "22003", "23514", "54000", "18", "19", "275", "1811", "3091",
        ] {
            assert!(refuses_value(code), "{code}");
        }
        for code in [
            "40001", "53100", "57014", "08006", "XX000", "5", "10", "13", "", "x",
        ] {
            assert!(!refuses_value(code), "{code}");
        }
    }

    #[test]
    fn an_unreadable_row_is_not_a_database_that_is_away() {
        let decode = || sqlx::Error::ColumnDecode {
            index: "payload".to_owned(),
            source: "invalid utf-8".into(),
        };
        for error in [StoreError::from(decode()), DbErr::Type("x".to_owned()).into()] {
            assert!(error.is_unreadable(), "{error:?}");
            assert!(!error.is_transient() && !error.is_data_error(), "{error:?}");
        }
        let reason = StoreError::from(decode()).reason();
        assert!(
            reason.contains("payload") && reason.contains("invalid utf-8"),
            "{reason}"
        );
        let away = StoreError::from(sqlx::Error::PoolTimedOut);
        assert!(away.is_transient() && !away.is_unreadable() && !away.is_data_error());
    }
}
