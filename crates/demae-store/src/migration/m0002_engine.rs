//! The outbox and the engine's tables: messages, deliveries, attempts, workers.
//!
//! The hot tables have no foreign keys among themselves: their rows are written together by one statement, and a check
//! per row would cost more than the row. What must hold of a single delivery is a CHECK.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, SchemaManager},
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
    sea_query::{Alias, ColumnDef, ConditionalStatement, Expr, ExprTrait},
};

use super::table::{
    big, boolean, index, integer, micros, optional, primary_key, small, table, text, unique, uuid,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        outbox(manager).await?;
        messages(manager).await?;
        deliveries(manager).await?;
        attempts(manager).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            postgres_storage(manager).await?;
        }
        Ok(())
    }
}

/// The application's side of the contract (docs/publishing.md): anybody may insert here, in any language.
async fn outbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let postgres = manager.get_database_backend() == DbBackend::Postgres;
    let new_id = if postgres {
        "gen_random_uuid()"
    } else {
        "(randomblob(16))"
    };
    let mut columns = table("outbox_events");
    if !postgres {
        // SQLite stores what it is given. One row that cannot be read would stop everything behind it.
        for column in ["id", "organization_id"] {
            columns.check(Expr::cust(sqlite_is_uuid(column)));
        }
        // NULL passes a check.
        columns.check(Expr::cust(sqlite_is_uuid("application_id")));
        columns.check(Expr::cust(
            "json_valid(COALESCE(raw, payload)) AND json_valid(COALESCE(raw_headers, headers, '{}'))",
        ));
    }
    columns.check(Expr::cust("raw IS NOT NULL OR payload IS NOT NULL"));
    manager
        .create_table(
            columns
                // The order of insertion. Not an identity: that is `id`.
                .col(
                    ColumnDef::new(Alias::new("position"))
                        .big_integer()
                        .auto_increment()
                        .primary_key(),
                )
                .col(uuid("id").default(Expr::cust(new_id)))
                .col(uuid("organization_id"))
                // NULL: the default application of the organization.
                .col(optional(uuid("application_id")))
                .col(text("event_name"))
                .col(text("event_type"))
                .col(ColumnDef::new(Alias::new("payload")).json_binary())
                .col(ColumnDef::new(Alias::new("headers")).json_binary())
                .col(optional(text("traceparent")))
                .col(
                    ColumnDef::new(Alias::new("created_at"))
                        .timestamp_with_time_zone()
                        .not_null()
                        .default(Expr::current_timestamp()),
                )
                // The payload and the headers as text, byte for byte; where set they win over the columns above.
                .col(optional(text("raw")))
                .col(optional(text("raw_headers")))
                .to_owned(),
        )
        .await?;
    if postgres {
        manager.get_connection().execute_unprepared(POSTGRES_SIZE).await?;
    }
    manager
        .create_index(unique("outbox_events_id", "outbox_events", &["id"]))
        .await?;
    // While more waits than is read at once, organizations are read in turns.
    manager
        .create_index(index(
            "outbox_events_organization",
            "outbox_events",
            &["organization_id", "position"],
        ))
        .await
}

/// How many bytes of text a reader gets, counted by whoever writes the row: `jsonb` keeps `1e100000` in a dozen bytes and
/// writes it out in a hundred thousand, so a reader could not ask for the length without paying for it.
const POSTGRES_SIZE: &str = "ALTER TABLE outbox_events ADD COLUMN size integer NOT NULL GENERATED ALWAYS AS (
    octet_length(event_name) + octet_length(event_type) + COALESCE(octet_length(traceparent), 0)
    + COALESCE(octet_length(raw), octet_length(payload::text))
    + COALESCE(octet_length(raw_headers), octet_length(headers::text), 0)) STORED";

/// 16 bytes, or the 36 characters of a hyphenated UUID in lower case.
fn sqlite_is_uuid(column: &str) -> String {
    let pattern = [8, 4, 4, 4, 12].map(|length| "[0-9a-f]".repeat(length)).join("-");
    format!("CASE typeof({column}) WHEN 'blob' THEN length({column}) = 16 ELSE {column} GLOB '{pattern}' END")
}

async fn messages(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            table("messages")
                .col(uuid("event_id").primary_key())
                .col(uuid("organization_id"))
                .col(uuid("application_id"))
                .col(text("event_name"))
                .col(text("event_type"))
                // JSON text, byte for byte what is delivered.
                .col(text("payload"))
                .col(optional(text("headers")))
                .col(optional(text("traceparent")))
                .col(micros("created_at"))
                // When the payload and the headers were expunged; then the payload is empty.
                .col(optional(micros("expunged_at")))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(index(
            "messages_page",
            "messages",
            &["application_id", "created_at", "event_id"],
        ))
        .await
}

async fn deliveries(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let state = || Expr::col(Alias::new("state"));
    manager
        .create_table(
            table("deliveries")
                .col(uuid("endpoint_id"))
                .col(uuid("event_id"))
                // Its application is that of the endpoint.
                .col(uuid("organization_id"))
                // `engine::DeliveryState`.
                .col(small("state"))
                // Attempts recorded, of any trigger.
                .col(integer("attempts"))
                // Scheduled attempts made: the place in the retry schedule.
                .col(integer("step"))
                // Waiting: when the next attempt is due. Leased: when the lease ends.
                .col(micros("due_at"))
                // The attempt under way, which is also the lease.
                .col(optional(uuid("lease")))
                .col(optional(uuid("worker_id")))
                // The next (or present) attempt was asked for by a person.
                .col(boolean("manual"))
                // What a failed manual attempt returns to.
                .col(optional(small("resume_state")))
                .col(optional(micros("resume_due_at")))
                // The name form that the endpoint subscribed with; frozen here with the body it is part of.
                .col(text("delivered_name"))
                .col(micros("created_at"))
                .primary_key(&mut primary_key(&["endpoint_id", "event_id"]))
                .check(state().between(0, 4))
                .check(state().eq(1).eq(Expr::col(Alias::new("lease")).is_not_null()))
                .to_owned(),
        )
        .await?;
    // Each open delivery is in exactly one of these two; a finished one is in neither.
    manager
        .create_index(
            index("deliveries_waiting", "deliveries", &["endpoint_id", "due_at"])
                .and_where(state().eq(0))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            index("deliveries_leased", "deliveries", &["due_at"])
                .and_where(state().eq(1))
                .to_owned(),
        )
        .await?;
    manager
        .create_table(
            table("workers")
                .col(uuid("id").primary_key())
                .col(micros("started_at"))
                .col(micros("heartbeat_at"))
                .to_owned(),
        )
        .await
}

async fn attempts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            table("attempts")
                .col(uuid("organization_id"))
                .col(uuid("application_id"))
                .col(uuid("id"))
                .col(uuid("endpoint_id"))
                .col(uuid("event_id"))
                .col(text("event_name"))
                .col(integer("number"))
                .col(boolean("manual"))
                // `engine::AttemptStatus`.
                .col(small("status"))
                .col(optional(micros("next_attempt_at")))
                .col(text("url"))
                .col(optional(integer("http_status")))
                .col(optional(text("error_kind")))
                .col(optional(text("error_detail")))
                // JSON object.
                .col(text("request_headers"))
                .col(text("response_headers"))
                .col(text("response_body"))
                .col(integer("duration_ms"))
                .col(micros("started_at"))
                .primary_key(&mut primary_key(&["application_id", "id"]))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(index("attempts_endpoint", "attempts", &["endpoint_id", "id"]))
        .await?;
    manager
        .create_index(index("attempts_event", "attempts", &["event_id", "id"]))
        .await?;
    manager
        .create_table(
            table("counters")
                .col(text("name").primary_key())
                .col(big("value"))
                .to_owned(),
        )
        .await?;
    // Raised by every change of an endpoint, in the same transaction; the router compares it before it fans out.
    manager
        .get_connection()
        .execute_unprepared("INSERT INTO counters (name, value) VALUES ('endpoints', 0)")
        .await?;
    Ok(())
}

/// Autovacuum by count rather than by share of the table: these tables turn over completely, and index scans slow down
/// with every dead row at their front.
async fn postgres_storage(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for table in ["outbox_events", "deliveries"] {
        let statement = format!(
            "ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, \
             autovacuum_analyze_scale_factor = 0.05)"
        );
        manager.get_connection().execute_unprepared(&statement).await?;
    }
    Ok(())
}
