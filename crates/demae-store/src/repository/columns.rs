//! Reads rows for people, column by column.
//!
//! A value that cannot be read (damaged, or written by another program) leaves its column empty, with the reason. So it
//! neither hides its row nor the rows beside it.

use sea_orm::{
    ConnectionTrait, FromQueryResult, QueryResult, QueryTrait, TryGetable, sea_query::SelectStatement,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::StoreError;

/// The rows of a query, none of them read yet.
pub(super) async fn rows(
    connection: &impl ConnectionTrait,
    query: impl QueryTrait<QueryStatement = SelectStatement>,
) -> Result<Vec<QueryResult>, StoreError> {
    Ok(connection.query_all(&query.into_query()).await?)
}

/// Those rows of a query that can be read. The others are in the log.
pub(super) fn readable<M: FromQueryResult>(table: &'static str, rows: &[QueryResult]) -> Vec<M> {
    let read = rows.iter().filter_map(|row| match M::from_query_result(row, "") {
        Ok(model) => Some(model),
        Err(error) => {
            leave_out(table, &error.into());
            None
        }
    });
    read.collect()
}

/// Logs that a row is left out.
pub(super) fn leave_out(table: &'static str, error: &StoreError) {
    tracing::error!(
        table,
        reason = error.reason(),
        "a row cannot be read; it is left out"
    );
}

/// A row that is being read.
pub(super) struct Columns<'r> {
    row: &'r QueryResult,
    fault: Option<String>,
}

impl<'r> Columns<'r> {
    /// Of a row with this id; `None`, and in the log, if not even that can be read.
    pub(super) fn of(row: &'r QueryResult, table: &'static str, id: &str) -> Option<(Uuid, Self)> {
        match row.try_get("", id) {
            Ok(id) => Some((id, Self { row, fault: None })),
            Err(error) => {
                leave_out(table, &error.into());
                None
            }
        }
    }

    /// A column's value; the type's empty value if it cannot be read.
    pub(super) fn get<T: TryGetable + Default>(&mut self, name: &str) -> T {
        let value = self.row.try_get("", name);
        value.unwrap_or_else(|error| {
            self.blame(&error.into());
            T::default()
        })
    }

    /// A column's JSON text; `{}` if it is none.
    pub(super) fn json(&mut self, name: &str, fault: &'static str) -> Box<RawValue> {
        let text = self.get::<String>(name);
        RawValue::from_string(text).unwrap_or_else(|_| {
            // A column that could not be read is blamed already.
            self.blame(&StoreError::Unreadable(fault));
            RawValue::from_string("{}".to_owned()).unwrap_or_default()
        })
    }

    /// The first fault stays.
    pub(super) fn blame(&mut self, error: &StoreError) {
        self.fault.get_or_insert_with(|| error.reason());
    }

    /// What cannot be read of what was asked for so far, if anything.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}
