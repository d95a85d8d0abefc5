//! `endpoints`: where messages go.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "endpoints")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub organization_id: Uuid,
    pub application_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub url: String,
    #[sea_orm(column_type = "Text")]
    pub event_names: String,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text")]
    pub description: String,
    pub headers: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub public_headers: String,
    pub rate_limit: Option<i32>,
    pub timeout_seconds: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub retry_schedule: Option<String>,
    pub enabled: bool,
    #[sea_orm(column_type = "Text")]
    pub dialect: String,
    #[sea_orm(column_type = "Text")]
    pub metadata: String,
    pub secret: Vec<u8>,
    pub previous_secrets: Vec<u8>,
    pub failing_since: Option<i64>,
    pub failing_notified_at: Option<i64>,
    #[sea_orm(column_type = "Text", nullable)]
    pub disabled_reason: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
    pub version: i64,
    pub health_version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
