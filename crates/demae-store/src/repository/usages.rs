//! What instances have used, joined with what their licenses grant.

use demae_event::OrganizationId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _, LockType},
};
use uuid::Uuid;

use super::insert_unless_taken;
use crate::{
    StoreError, Transaction,
    entity::{
        entitlement,
        entitlement_usage::{ActiveModel, Column, Entity, Model},
        instance, license, license_entitlement,
    },
};

/// An entitlement as an instance has it: what its license grants, and what was used.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Metered {
    /// The instance.
    pub instance_id: Uuid,
    /// Its slug.
    pub instance_slug: String,
    /// When its license begins, in microseconds.
    pub license_start: i64,
    /// Its license.
    pub license_id: Uuid,
    /// The license's slug.
    pub license_slug: String,
    /// The entitlement.
    pub entitlement_id: Uuid,
    /// Its slug.
    pub entitlement_slug: String,
    /// Its kind, once it has one.
    pub kind: Option<String>,
    /// How reports are folded.
    pub aggregation_method: Option<String>,
    /// How long a period is, if it has any.
    pub reset_period: Option<String>,
    /// From where periods are counted.
    pub reset_anchor: Option<String>,
    /// What the license grants, as JSON; none if it does not grant this.
    pub granted: Option<String>,
    /// By how many percent the granted value may be passed.
    pub overage_percent: Option<i32>,
    /// What was used, as a decimal number; this and the following are there together, after the first report.
    pub value: Option<String>,
    /// From which the value is made, as a decimal number.
    pub total: Option<String>,
    /// Of how many reports.
    pub event_count: Option<i64>,
    /// Since when, in microseconds.
    pub period_start: Option<i64>,
    /// Until when, in microseconds.
    pub period_end: Option<i64>,
}

/// Which rows must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// The entitlement, granted or not.
    Entitlement,
    /// A grant of it, used or not.
    Grant,
    /// A row of its use.
    Usage,
}

fn metered(organization: OrganizationId, need: Need) -> Select<instance::Entity> {
    let mut query = instance::Entity::find()
        .select_only()
        .column_as(instance::Column::Id, "instance_id")
        .column_as(instance::Column::Slug, "instance_slug")
        .column_as(instance::Column::StartLicenseDate, "license_start")
        .column_as(license::Column::Id, "license_id")
        .column_as(license::Column::Slug, "license_slug")
        .column_as(entitlement::Column::Id, "entitlement_id")
        .column_as(entitlement::Column::Slug, "entitlement_slug")
        .column_as(entitlement::Column::Kind, "kind")
        .column_as(entitlement::Column::AggregationMethod, "aggregation_method")
        .column_as(entitlement::Column::ResetPeriod, "reset_period")
        .column_as(entitlement::Column::ResetAnchor, "reset_anchor")
        .column_as(license_entitlement::Column::Value, "granted")
        .column_as(
            license_entitlement::Column::LimitCapExceededOveragePercent,
            "overage_percent",
        )
        .column_as(Column::Value, "value")
        .column_as(Column::Total, "total")
        .column_as(Column::EventCount, "event_count")
        .column_as(Column::PeriodStart, "period_start")
        .column_as(Column::PeriodEnd, "period_end")
        .filter(instance::Column::OrganizationId.eq(organization.0));
    let of_instance = |column: instance::Column| Expr::col((instance::Entity, column));
    let granted_by = Expr::col((
        license_entitlement::Entity,
        license_entitlement::Column::LicenseId,
    ))
    .equals((instance::Entity, instance::Column::LicenseId));
    let granted_of = Expr::col((
        license_entitlement::Entity,
        license_entitlement::Column::EntitlementId,
    ))
    .equals((entitlement::Entity, entitlement::Column::Id));
    let of_organization =
        Expr::col((entitlement::Entity, entitlement::Column::OrganizationId)).eq(organization.0);
    let used_by = Expr::col((Entity, Column::InstanceId)).equals((instance::Entity, instance::Column::Id));
    let used_of =
        Expr::col((Entity, Column::EntitlementId)).equals((entitlement::Entity, entitlement::Column::Id));
    let usages = if need == Need::Usage {
        JoinType::InnerJoin
    } else {
        JoinType::LeftJoin
    };
    let select = QuerySelect::query(&mut query);
    select.join(
        JoinType::InnerJoin,
        license::Entity,
        of_instance(instance::Column::LicenseId).equals((license::Entity, license::Column::Id)),
    );
    if need == Need::Entitlement {
        select
            .join(JoinType::InnerJoin, entitlement::Entity, of_organization)
            .join(
                JoinType::LeftJoin,
                license_entitlement::Entity,
                granted_by.and(granted_of),
            );
    } else {
        select
            .join(JoinType::InnerJoin, license_entitlement::Entity, granted_by)
            .join(
                JoinType::InnerJoin,
                entitlement::Entity,
                granted_of.and(of_organization),
            );
    }
    select.join(usages, Entity, used_by.and(used_of));
    query
}

fn of(query: Select<instance::Entity>, instance: &str, entitlement: &str) -> Select<instance::Entity> {
    query
        .filter(instance::Column::Slug.eq(instance))
        .filter(entitlement::Column::Slug.eq(entitlement))
}

/// An entitlement of the organization as an instance has it, granted or not.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    instance: &str,
    entitlement: &str,
) -> Result<Option<Metered>, StoreError> {
    let query = of(metered(organization, Need::Entitlement), instance, entitlement);
    Ok(query.into_model().one(connection).await?)
}

/// An entitlement that is granted and has been used, which nobody else uses until the transaction ends: one statement
/// for everything that a report needs.
pub async fn find_for_update(
    transaction: &mut Transaction,
    organization: OrganizationId,
    instance: &str,
    entitlement: &str,
) -> Result<Option<Metered>, StoreError> {
    let mut query = of(metered(organization, Need::Usage), instance, entitlement);
    QuerySelect::query(&mut query).lock_with_tables(LockType::NoKeyUpdate, [Entity]);
    Ok(query.into_model().one(transaction.connection()).await?)
}

/// The first entitlements that an instance's license grants, by slug.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    instance: &str,
    limit: u64,
) -> Result<Vec<Metered>, StoreError> {
    let query = metered(organization, Need::Grant)
        .filter(instance::Column::Slug.eq(instance))
        .order_by_asc(entitlement::Column::Slug)
        .limit(limit);
    Ok(query.into_model().all(connection).await?)
}

/// Writes a first row of use; `false` if there is one already.
pub async fn insert(transaction: &mut Transaction, usage: Model) -> Result<bool, StoreError> {
    insert_unless_taken(transaction, ActiveModel::from(usage)).await
}

/// Writes what was used.
pub async fn update(transaction: &mut Transaction, usage: &Model) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Value, Expr::value(usage.value.as_str()))
        .col_expr(Column::Total, Expr::value(usage.total.as_str()))
        .col_expr(Column::EventCount, Expr::value(usage.event_count))
        .col_expr(Column::PeriodStart, Expr::value(usage.period_start))
        .col_expr(Column::PeriodEnd, Expr::value(usage.period_end))
        .col_expr(Column::UpdatedAt, Expr::value(usage.updated_at))
        .filter(Column::OrganizationId.eq(usage.organization_id))
        .filter(Column::InstanceId.eq(usage.instance_id))
        .filter(Column::EntitlementId.eq(usage.entitlement_id))
        .exec(transaction.connection())
        .await?;
    Ok(result.rows_affected == 1)
}
