//! Organizations, their applications, service accounts, tokens and customers.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the signature of `MigrationTrait`, through `async_trait`"
)]

use sea_orm_migration::{
    MigrationTrait, async_trait,
    prelude::{DeriveMigrationName, ForeignKey, ForeignKeyAction, SchemaManager},
    sea_orm::DbErr,
    sea_query::{Alias, ConditionalStatement as _, Expr, ForeignKeyCreateStatement},
};

use super::table::{big, bytes, index, micros, optional, table, text, unique, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

fn owned_by(column: &str, parent: &str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(Alias::new(column))
        .to(Alias::new(parent), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table("organizations")
                    .col(uuid("id").primary_key())
                    .col(optional(text("external_id")).unique_key())
                    .col(text("name"))
                    .col(micros("created_at"))
                    .to_owned(),
            )
            .await?;
        applications(manager).await?;
        manager
            .create_table(
                table("service_accounts")
                    .col(uuid("id").primary_key())
                    .col(uuid("organization_id"))
                    .col(text("name"))
                    .col(text("slug"))
                    .col(optional(text("external_id")))
                    // JSON array: what its tokens may do unless they were made for less.
                    .col(text("scopes"))
                    .col(micros("created_at"))
                    .col(optional(uuid("created_by_id")))
                    .col(optional(text("created_by_name")))
                    .foreign_key(&mut owned_by("organization_id", "organizations"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(unique(
                "service_accounts_slug",
                "service_accounts",
                &["organization_id", "slug"],
            ))
            .await?;
        manager
            .create_table(
                table("api_tokens")
                    .col(uuid("id").primary_key())
                    .col(uuid("organization_id"))
                    .col(uuid("service_account_id"))
                    .col(text("name"))
                    .col(text("slug"))
                    // SHA-256 of the token's text; the text itself is never stored.
                    .col(bytes("digest").unique_key())
                    // JSON array, or NULL for those of the service account.
                    .col(optional(text("scopes")))
                    .col(micros("created_at"))
                    .col(optional(uuid("created_by_id")))
                    .col(optional(text("created_by_name")))
                    .col(optional(micros("expires_at")))
                    .col(optional(micros("revoked_at")))
                    .col(optional(uuid("revoked_by_id")))
                    .col(optional(text("revoked_by_name")))
                    .foreign_key(&mut owned_by("organization_id", "organizations"))
                    .foreign_key(&mut owned_by("service_account_id", "service_accounts"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(unique(
                "api_tokens_slug",
                "api_tokens",
                &["service_account_id", "slug"],
            ))
            .await?;
        manager
            .create_table(
                table("customers")
                    .col(uuid("id").primary_key())
                    .col(uuid("organization_id"))
                    .col(text("name"))
                    .col(text("slug"))
                    .col(optional(text("external_customer_id")))
                    .col(optional(text("domain")))
                    // JSON object: adapter name to integration.
                    .col(text("integrations"))
                    .col(micros("created_at"))
                    .col(uuid("created_by_id"))
                    .col(optional(text("created_by_name")))
                    .col(micros("updated_at"))
                    .col(uuid("updated_by_id"))
                    .col(optional(text("updated_by_name")))
                    .foreign_key(&mut owned_by("organization_id", "organizations"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(unique(
                "customers_slug",
                "customers",
                &["organization_id", "slug"],
            ))
            .await?;
        manager
            .create_index(index("customers_page", "customers", &["organization_id", "id"]))
            .await
    }
}

/// Every organization has one with its own id, which is written together with it.
async fn applications(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            table("applications")
                .col(uuid("id").primary_key())
                .col(uuid("organization_id"))
                // The id that its owner chose; unique among those of the organization that are not deleted.
                .col(optional(text("uid")))
                .col(text("name"))
                .col(big("version"))
                .col(micros("created_at"))
                .col(micros("updated_at"))
                // Deleted applications stay until their history is gone.
                .col(optional(micros("deleted_at")))
                .foreign_key(&mut owned_by("organization_id", "organizations"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            unique("applications_uid", "applications", &["organization_id", "uid"])
                .and_where(Expr::cust("deleted_at IS NULL"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(index(
            "applications_page",
            "applications",
            &["organization_id", "id"],
        ))
        .await
}
