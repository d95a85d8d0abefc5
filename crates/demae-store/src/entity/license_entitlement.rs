//! `license_entitlements`: what a license grants of an entitlement.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "license_entitlements")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    pub license_id: Uuid,
    pub entitlement_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub value: String,
    pub limit_cap_exceeded_overage_percent: Option<i32>,
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
