//! Writing events.
//!
//! The outbox is the only way out: whoever changes something that others must hear of calls [`append`] with the
//! transaction that holds the change. There is no function that publishes without one.

use demae_event::Event;
use sea_orm::{ConnectionTrait, Statement, Value};

use crate::{StoreError, Transaction};

/// Writes `event` as part of `transaction`: it exists exactly if the transaction commits.
///
/// An id that is in the outbox already is a [`StoreError::Conflict`].
pub async fn append(transaction: &mut Transaction, event: &Event) -> Result<(), StoreError> {
    let connection = transaction.connection();
    let backend = connection.get_database_backend();
    let sql = match backend {
        sea_orm::DbBackend::Postgres => {
            "INSERT INTO outbox_events (id, organization_id, application_id, event_name, event_type, raw, raw_headers, \
             traceparent, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9::float8 / 1e6))"
        }
        _ => {
            "INSERT INTO outbox_events (id, organization_id, application_id, event_name, event_type, raw, raw_headers, \
             traceparent, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             strftime('%Y-%m-%d %H:%M:%f', ?9 / 1000 / 1e3, 'unixepoch'))"
        }
    };
    let values: [Value; 9] = [
        event.id.0.into(),
        event.scope.organization.0.into(),
        event
            .scope
            .named_application()
            .map(|application| application.0)
            .into(),
        event.name.as_str().into(),
        event.event_type.as_str().into(),
        event.data.get().into(),
        event
            .headers
            .as_ref()
            .map(|headers| headers.get().to_owned())
            .into(),
        event.traceparent.clone().into(),
        event.created_at.as_micros().into(),
    ];
    connection
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    transaction.note_event();
    Ok(())
}
