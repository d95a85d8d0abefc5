//! `feature_flags`: a feature flag.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "feature_flags")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub slug: String,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub description: Option<String>,
    #[sea_orm(column_type = "Text", column_name = "type")]
    pub kind: String,
    pub enabled: bool,
    #[sea_orm(column_type = "Text")]
    pub event_name: String,
    #[sea_orm(column_type = "Text")]
    pub metadata: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub variants: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub default_variant: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub targetings: Option<String>,
    pub created_at: i64,
    pub created_by_id: Uuid,
    #[sea_orm(column_type = "Text", nullable)]
    pub created_by_name: Option<String>,
    pub updated_at: i64,
    pub updated_by_id: Uuid,
    #[sea_orm(column_type = "Text", nullable)]
    pub updated_by_name: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
