//! `api_tokens`: a bearer token; only its digest.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    pub service_account_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub slug: String,
    pub digest: Vec<u8>,
    #[sea_orm(column_type = "Text", nullable)]
    pub scopes: Option<String>,
    pub created_at: i64,
    pub created_by_id: Option<Uuid>,
    #[sea_orm(column_type = "Text", nullable)]
    pub created_by_name: Option<String>,
    pub expires_at: Option<i64>,
    pub revoked_at: Option<i64>,
    pub revoked_by_id: Option<Uuid>,
    #[sea_orm(column_type = "Text", nullable)]
    pub revoked_by_name: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
