//! `attempts`: one HTTP exchange with an endpoint, or why there was none.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    pub organization_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub application_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub endpoint_id: Uuid,
    pub event_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub event_name: String,
    pub number: i32,
    pub manual: bool,
    pub status: i16,
    pub next_attempt_at: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub url: String,
    pub http_status: Option<i32>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_kind: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_detail: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub request_headers: String,
    #[sea_orm(column_type = "Text")]
    pub response_headers: String,
    #[sea_orm(column_type = "Text")]
    pub response_body: String,
    pub duration_ms: i32,
    pub started_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
