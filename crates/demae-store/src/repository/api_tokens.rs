//! API tokens. Only digests are kept, and revoked tokens stay as a record.

use demae_event::{OrganizationId, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::{Listing, Page, insert_unless_taken};
use crate::{
    StoreError, Transaction,
    entity::{
        api_token::{ActiveModel, Column, Entity, Model},
        service_account,
    },
};

/// Writes a new token; `false` if its slug is taken in its service account, or its digest anywhere.
pub async fn insert(transaction: &mut Transaction, token: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(token)).await
}

/// The token with this digest and its service account, in one query. Expired and revoked ones are found, too.
pub async fn find_by_digest(
    connection: &impl ConnectionTrait,
    digest: &[u8; 32],
) -> Result<Option<(Model, service_account::Model)>, StoreError> {
    let found = Entity::find()
        .filter(Column::Digest.eq(digest.to_vec()))
        .find_also_linked(TokenToAccount)
        .one(connection)
        .await?;
    Ok(found.and_then(|(token, account)| Some((token, account?))))
}

/// The token of a service account with this slug.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    service_account: Uuid,
    slug: &str,
) -> Result<Option<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::ServiceAccountId.eq(service_account))
        .filter(Column::Slug.eq(slug));
    Ok(query.one(connection).await?)
}

/// The tokens of a service account, revoked ones included, by slug.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    service_account: Uuid,
    page: Page<String>,
) -> Result<Listing<Model, String>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::ServiceAccountId.eq(service_account))
        .order_by_asc(Column::Slug)
        .limit(page.rows());
    if let Some(after) = &page.after {
        query = query.filter(Column::Slug.gt(after.as_str()));
    }
    let rows = query.all(connection).await?;
    Ok(Listing::cut(rows, &page, |row| row.slug.clone()))
}

/// The first `limit` tokens of each of these service accounts, by account and slug.
pub async fn of_accounts(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    service_accounts: &[Uuid],
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    let query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::ServiceAccountId.is_in(service_accounts.iter().copied()))
        .order_by_asc(Column::ServiceAccountId)
        .order_by_asc(Column::Slug)
        .limit(limit);
    Ok(query.all(connection).await?)
}

/// Who revokes a token.
#[derive(Debug, Clone, Copy)]
pub struct Revoker<'a> {
    /// Their id.
    pub id: Uuid,
    /// Their name.
    pub name: &'a str,
}

/// Ends a token's life at `now`; `false` if it had ended before or never was.
pub async fn revoke(
    transaction: &mut Transaction,
    organization: OrganizationId,
    id: Uuid,
    now: Timestamp,
    by: Revoker<'_>,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(now.as_micros()))
        .col_expr(Column::RevokedById, Expr::value(by.id))
        .col_expr(Column::RevokedByName, Expr::value(by.name))
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null())
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}

/// From a token to the service account it acts for.
struct TokenToAccount;

impl sea_orm::Linked for TokenToAccount {
    type FromEntity = Entity;
    type ToEntity = service_account::Entity;

    fn link(&self) -> Vec<sea_orm::RelationDef> {
        vec![
            Entity::belongs_to(service_account::Entity)
                .from(Column::ServiceAccountId)
                .to(service_account::Column::Id)
                .into(),
        ]
    }
}
