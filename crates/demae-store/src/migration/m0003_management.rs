//! Endpoints, own event types, idempotency keys and jobs.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, ForeignKey, ForeignKeyAction, SchemaManager},
    sea_orm::DbErr,
    sea_query::{Alias, ForeignKeyCreateStatement},
};

use super::table::{big, boolean, bytes, index, integer, micros, optional, primary_key, table, text, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

fn owned_by_organization() -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(Alias::new("organization_id"))
        .to(Alias::new("organizations"), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

fn owned_by_application() -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(Alias::new("application_id"))
        .to(Alias::new("applications"), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

#[expect(clippy::too_many_lines, reason = "a list of columns")]
#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table("endpoints")
                    .col(uuid("id").primary_key())
                    .col(uuid("organization_id"))
                    .col(uuid("application_id"))
                    .col(text("url"))
                    // JSON array of subscriptions, as the caller wrote them.
                    .col(text("event_names"))
                    .col(text("name"))
                    .col(text("description"))
                    // Sealed JSON object: own headers often hold credentials.
                    .col(bytes("headers"))
                    // JSON array: the names of own headers that are no secret.
                    .col(text("public_headers"))
                    // Deliveries per second.
                    .col(optional(integer("rate_limit")))
                    .col(integer("timeout_seconds"))
                    // JSON array of seconds, or NULL for the default schedule.
                    .col(optional(text("retry_schedule")))
                    .col(boolean("enabled"))
                    .col(text("dialect"))
                    // JSON object of strings.
                    .col(text("metadata"))
                    // Sealed text `whsec_…` or `whsk_…`.
                    .col(bytes("secret"))
                    // Sealed JSON array of `{secret, expiresAt}`: keys that still sign during a rotation.
                    .col(bytes("previous_secrets"))
                    // Since when there has been nothing but failure.
                    .col(optional(micros("failing_since")))
                    // When its owner was told that it is failing.
                    .col(optional(micros("failing_notified_at")))
                    // Why Demae disabled it (`failing`, `gone`); NULL if it did not.
                    .col(optional(text("disabled_reason")))
                    .col(micros("created_at"))
                    .col(micros("updated_at"))
                    // Deleted endpoints stay until their history is gone.
                    .col(optional(micros("deleted_at")))
                    // The value of the counter `endpoints` after the last change of anything but the health, and after
                    // the last change of the health: a reader loads what is newer than the value that it knows.
                    .col(big("version"))
                    .col(big("health_version"))
                    .foreign_key(&mut owned_by_organization())
                    .foreign_key(&mut owned_by_application())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(index(
                "endpoints_page",
                "endpoints",
                &["organization_id", "application_id", "id"],
            ))
            .await?;
        for column in ["version", "health_version"] {
            let name = format!("endpoints_{column}");
            manager.create_index(index(&name, "endpoints", &[column])).await?;
        }
        manager
            .create_table(
                table("event_types")
                    .col(uuid("organization_id"))
                    .col(text("name"))
                    .col(text("event_type"))
                    .col(text("description"))
                    // JSON Schema and an example of `data`, as JSON text.
                    .col(optional(text("schema")))
                    .col(optional(text("example")))
                    .col(micros("created_at"))
                    .col(micros("updated_at"))
                    .primary_key(&mut primary_key(&["organization_id", "name"]))
                    .foreign_key(&mut owned_by_organization())
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                table("idempotency_keys")
                    .col(uuid("organization_id"))
                    // SHA-256 of who asked, the operation and the key; and of the request's body.
                    .col(bytes("key_digest"))
                    .col(bytes("request_digest"))
                    .col(integer("status"))
                    // Its headers and body, sealed, in base64.
                    .col(text("answer"))
                    .col(micros("expires_at"))
                    .primary_key(&mut primary_key(&["organization_id", "key_digest"]))
                    .foreign_key(&mut owned_by_organization())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(index(
                "idempotency_keys_expiry",
                "idempotency_keys",
                &["expires_at"],
            ))
            .await?;
        manager
            .create_table(
                table("jobs")
                    .col(uuid("id").primary_key())
                    .col(uuid("organization_id"))
                    .col(uuid("application_id"))
                    .col(text("kind"))
                    .col(uuid("endpoint_id"))
                    // `running`, `finished` or `failed`.
                    .col(text("status"))
                    // JSON object: what was asked.
                    .col(text("parameters"))
                    // JSON object: how far it is, so that another process can go on.
                    .col(optional(text("cursor")))
                    .col(big("examined"))
                    .col(big("resent"))
                    .col(optional(text("error")))
                    .col(micros("created_at"))
                    .col(micros("updated_at"))
                    .foreign_key(&mut owned_by_organization())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(index(
                "jobs_page",
                "jobs",
                &["organization_id", "application_id", "id"],
            ))
            .await?;
        // A recovery is refused while another of its endpoint runs; finished ones are kept for a while.
        manager
            .create_index(index("jobs_running", "jobs", &["status", "kind", "id"]))
            .await
    }
}
