//! `entitlements`: something that a license can grant.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "entitlements")]
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
    #[sea_orm(column_type = "Text", nullable, column_name = "type")]
    pub kind: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub aggregation_method: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub meter_type: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub reset_period: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub reset_anchor: Option<String>,
    pub warning_threshold_percent: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub unit_singular: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub unit_plural: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub sale_unit_singular: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub sale_unit_plural: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub sale_unit_factor: Option<String>,
    pub user_facing: bool,
    pub display_order: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub icon: Option<String>,
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
