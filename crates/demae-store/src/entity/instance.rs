//! `instances`: an installation of the product, for a customer under a license.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "instances")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub slug: String,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub description: String,
    pub customer_id: Uuid,
    pub license_id: Uuid,
    pub deployment_zone_id: Option<Uuid>,
    pub start_license_date: i64,
    pub end_license_date: i64,
    #[sea_orm(column_type = "Text")]
    pub metadata: String,
    #[sea_orm(column_type = "Text")]
    pub status: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub lifecycle_stage: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub integrations: String,
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
