//! `audit_entries`: who did what to which resource when.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub event_name: String,
    #[sea_orm(column_type = "Text")]
    pub event_type: String,
    #[sea_orm(column_type = "Text")]
    pub resource: String,
    pub resource_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub resource_slug: String,
    pub instance_id: Option<Uuid>,
    #[sea_orm(column_type = "Text", nullable)]
    pub instance_slug: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub payload: String,
    pub created_at: i64,
    pub created_by_id: Uuid,
    #[sea_orm(column_type = "Text", nullable)]
    pub created_by_name: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
