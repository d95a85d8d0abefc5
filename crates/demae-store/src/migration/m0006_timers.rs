//! What Demae does by itself at a time: recoveries, retention, expiry.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, SchemaManager},
    sea_orm::DbErr,
    sea_query::{Alias, ConditionalStatement as _, Expr, ExprTrait as _},
};

use super::table::{index, integer, micros, optional, primary_key, table, text, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let leased = || Expr::col(Alias::new("lease")).is_not_null();
        manager
            .create_table(
                table("timers")
                    // What happens: the name of a handler.
                    .col(text("kind"))
                    // To what: an ID, or a name if there are a few fixed ones.
                    .col(text("subject"))
                    // Nil: the installation itself.
                    .col(uuid("organization_id"))
                    // When it was to happen. Retries do not change it.
                    .col(micros("due_at"))
                    // Waiting: the earliest time of the next run. Leased: the end of the lease.
                    .col(micros("wake_at"))
                    // What the handler needs besides the subject; JSON by convention.
                    .col(optional(text("data")))
                    // The run in flight; `worker_id` is the process that it belongs to.
                    .col(optional(uuid("lease")))
                    .col(optional(uuid("worker_id")))
                    // Failed runs since the last success, and why the last of them failed.
                    .col(integer("failures"))
                    .col(optional(text("last_error")))
                    .primary_key(&mut primary_key(&["kind", "subject"]))
                    .check(leased().eq(Expr::col(Alias::new("worker_id")).is_not_null()))
                    .to_owned(),
            )
            .await?;
        // A waiting timer is in the first two, by time and by organization; a leased one is in the third only.
        let waiting = || Expr::col(Alias::new("lease")).is_null();
        for created in [
            index("timers_waiting", "timers", &["kind", "wake_at"])
                .and_where(waiting())
                .to_owned(),
            index(
                "timers_organization",
                "timers",
                &["kind", "organization_id", "wake_at"],
            )
            .and_where(waiting())
            .to_owned(),
            index("timers_leased", "timers", &["wake_at"])
                .and_where(leased())
                .to_owned(),
            index("timers_failing", "timers", &["failures"])
                .and_where(Expr::col(Alias::new("failures")).gt(0))
                .to_owned(),
        ] {
            manager.create_index(created).await?;
        }
        Ok(())
    }
}
