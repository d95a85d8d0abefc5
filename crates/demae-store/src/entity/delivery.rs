//! `deliveries`: a message on its way to an endpoint.
#![expect(
    missing_docs,
    reason = "the columns are described where they are created, in the migrations"
)]

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "deliveries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub endpoint_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    pub organization_id: Uuid,
    pub state: i16,
    pub attempts: i32,
    pub step: i32,
    pub due_at: i64,
    pub lease: Option<Uuid>,
    pub worker_id: Option<Uuid>,
    pub manual: bool,
    pub resume_state: Option<i16>,
    pub resume_due_at: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub delivered_name: String,
    pub created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
