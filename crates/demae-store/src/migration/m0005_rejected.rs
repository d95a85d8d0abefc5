//! What arrived and can never become an event.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, SchemaManager},
    sea_orm::DbErr,
};

use super::table::{big, bytes, micros, table, text, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table("rejected_events")
                    // Version 7: the order of arrival.
                    .col(uuid("id").primary_key())
                    // Where it came from: `dapr`, `source:NAME`, `svix`, ….
                    .col(text("source"))
                    // Why it cannot be an event, for a person.
                    .col(text("reason"))
                    // What arrived, cut off at a bound, and how long it was.
                    .col(bytes("body"))
                    .col(big("body_size"))
                    .col(micros("received_at"))
                    .to_owned(),
            )
            .await
    }
}
