//! What arrived and can never become an event.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, SchemaManager},
    sea_orm::DbErr,
    sea_query::{ConditionalStatement as _, Expr},
};

use super::table::{big, boolean, bytes, index, micros, table, text, uuid};

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
                    // Its source waits rather than lose it: kept until somebody has looked.
                    .col(boolean("unseen").default(false))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                index("rejected_events_unseen", "rejected_events", &["source"])
                    .and_where(Expr::cust("unseen"))
                    .to_owned(),
            )
            .await
    }
}
