//! Endpoints.
//!
//! Secrets and own headers are sealed here, with the endpoint's id as their owner, and leave the database only as an
//! [`Endpoint`]. Every change, of an endpoint's health too, raises the counter that [`crate::Engine::endpoints_version`]
//! shows, in the transaction of the change; what changes nothing does not raise it.
//!
//! The row keeps the value to which its change raised the counter, so a reader that knows a version loads what changed
//! since ([`load`], [`load_health`]) and nothing else. That misses nothing: a transaction that raises the counter locks it
//! until its end, so values become visible in their order. Health is stamped by itself: an endpoint that fails and works
//! in turns costs a reader two columns, and opens no secret.

use std::{collections::BTreeMap, fmt};

use demae_event::{EndpointId, OrganizationId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QueryOrder, QueryResult, QuerySelect, Select,
    sea_query::{Expr, ExprTrait as _},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Listing, Page,
    columns::{Columns, leave_out, readable, rows},
    from_json,
    scoped::{in_scope, scope_of},
    to_json,
};
use crate::{
    StoreError, Transaction, Vault,
    entity::{
        application, counter,
        endpoint::{ActiveModel, Column, Entity, Model},
    },
};

const TABLE: &str = "endpoints";

/// How many endpoints [`load`] reads per query.
const LOAD_CHUNK: u64 = 1_000;

/// An endpoint with its secrets in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub id: EndpointId,
    /// The application it belongs to, within its organization.
    pub scope: Scope,
    /// Where to.
    pub url: String,
    /// Subscriptions, as the caller wrote them.
    pub event_names: Vec<String>,
    /// What people call it; may be empty.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Own headers sent with every delivery.
    pub headers: BTreeMap<String, String>,
    /// Names of own headers that are no secret, as they are in `headers`.
    pub public_headers: Vec<String>,
    /// Deliveries per second at most.
    pub rate_limit: Option<u32>,
    /// How long an exchange may take, in seconds.
    pub timeout_seconds: u32,
    /// Seconds between attempts; `None` for the default schedule.
    pub retry_schedule: Option<Vec<u32>>,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// How it is spoken to.
    pub dialect: String,
    /// The owner's own notes.
    pub metadata: BTreeMap<String, String>,
    /// The current signing key, `whsec_…` or `whsk_…`.
    pub secret: Zeroizing<String>,
    /// Keys that still sign during a rotation, newest first.
    pub previous_secrets: Vec<PreviousSecret>,
    /// Since when there has been nothing but failure.
    pub failing_since: Option<Timestamp>,
    /// When its owner was told so.
    pub failing_notified_at: Option<Timestamp>,
    /// Why Demae disabled it; `None` if it did not.
    pub disabled_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner, or Demae, last changed it.
    pub updated_at: Timestamp,
}

/// An endpoint as it was loaded, for delivering to it or for a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The endpoint; without its secrets and own headers if they cannot be opened.
    pub endpoint: Endpoint,
    /// Whether its secrets were opened.
    pub opened: bool,
}

/// What [`load`] found.
#[derive(Debug, Default)]
pub struct Changes {
    /// Endpoints that are there.
    pub endpoints: Vec<Loaded>,
    /// Endpoints that are deleted, and those of which nothing can be read.
    pub gone: Vec<EndpointId>,
}

/// An endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whose.
    pub id: EndpointId,
    /// Since when there has been nothing but failure.
    pub failing_since: Option<Timestamp>,
    /// When its owner was told so.
    pub failing_notified_at: Option<Timestamp>,
}

/// A signing key on its way out.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// `whsec_…` or `whsk_…`.
    pub secret: Zeroizing<String>,
    /// When it stops signing.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("url", &self.url)
            .field("event_names", &self.event_names)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PreviousSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreviousSecret")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Writes a new endpoint unless its organization has `limit` of them already, which it answers with `false`. An
/// application that does not exist, or that was deleted, is a [`StoreError::Reference`].
pub async fn insert(
    transaction: &mut Transaction,
    vault: &Vault,
    endpoint: &Endpoint,
    limit: u64,
) -> Result<bool, StoreError> {
    // First of all: it makes concurrent inserts take turns, so that the count below is exact.
    raise_version(transaction).await?;
    if count(transaction.connection(), endpoint.scope.organization).await? >= limit {
        return Ok(false);
    }
    let live = application::Entity::find_by_id(endpoint.scope.application.0)
        .filter(application::Column::OrganizationId.eq(endpoint.scope.organization.0))
        .filter(application::Column::DeletedAt.is_null())
        .count(transaction.connection())
        .await?;
    if live == 0 {
        let error = DbErr::RecordNotFound("the application of the endpoint".to_owned());
        return Err(StoreError::Reference(error));
    }
    let row = ActiveModel::from(seal(vault, endpoint));
    Entity::insert(row)
        .exec_without_returning(transaction.connection())
        .await?;
    stamp(transaction, endpoint.id, Column::Version).await?;
    Ok(true)
}

/// Overwrites everything about an endpoint but its identity, its scope and the time of its making.
pub async fn update(
    transaction: &mut Transaction,
    vault: &Vault,
    endpoint: &Endpoint,
) -> Result<bool, StoreError> {
    let row = seal(vault, endpoint);
    let result = Entity::update_many()
        .col_expr(Column::Url, Expr::value(row.url))
        .col_expr(Column::EventNames, Expr::value(row.event_names))
        .col_expr(Column::Name, Expr::value(row.name))
        .col_expr(Column::Description, Expr::value(row.description))
        .col_expr(Column::Headers, Expr::value(row.headers))
        .col_expr(Column::PublicHeaders, Expr::value(row.public_headers))
        .col_expr(Column::RateLimit, Expr::value(row.rate_limit))
        .col_expr(Column::TimeoutSeconds, Expr::value(row.timeout_seconds))
        .col_expr(Column::RetrySchedule, Expr::value(row.retry_schedule))
        .col_expr(Column::Enabled, Expr::value(row.enabled))
        .col_expr(Column::Dialect, Expr::value(row.dialect))
        .col_expr(Column::Metadata, Expr::value(row.metadata))
        .col_expr(Column::Secret, Expr::value(row.secret))
        .col_expr(Column::PreviousSecrets, Expr::value(row.previous_secrets))
        .col_expr(Column::FailingSince, Expr::value(row.failing_since))
        .col_expr(Column::FailingNotifiedAt, Expr::value(row.failing_notified_at))
        .col_expr(Column::DisabledReason, Expr::value(row.disabled_reason))
        .col_expr(Column::UpdatedAt, Expr::value(row.updated_at))
        .filter(in_scope::<Entity>(endpoint.scope))
        .filter(Column::Id.eq(row.id))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, endpoint.id, Column::Version).await
}

/// Hides an endpoint from everything but the history of what went to it.
pub async fn delete(
    transaction: &mut Transaction,
    scope: Scope,
    id: EndpointId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::value(now.as_micros()))
        .col_expr(Column::Enabled, Expr::value(false))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.eq(id.0))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, id, Column::Version).await
}

/// The same for all endpoints of an application.
pub(super) async fn delete_all(
    transaction: &mut Transaction,
    scope: Scope,
    now: Timestamp,
) -> Result<(), StoreError> {
    // First of all: no endpoint can be inserted until the transaction ends, and none of those that were is missed.
    raise_version(transaction).await?;
    Entity::update_many()
        .col_expr(Column::DeletedAt, Expr::value(now.as_micros()))
        .col_expr(Column::Enabled, Expr::value(false))
        .col_expr(Column::Version, raised_version())
        .filter(in_scope::<Entity>(scope))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    Ok(())
}

/// An endpoint that is not deleted.
pub async fn find(
    connection: &impl ConnectionTrait,
    vault: &Vault,
    scope: Scope,
    id: EndpointId,
) -> Result<Option<Endpoint>, StoreError> {
    let row = live(scope).filter(Column::Id.eq(id.0)).one(connection).await?;
    row.map(|row| open(vault, row)).transpose()
}

/// The same, and nobody else changes it until the transaction ends.
pub async fn find_for_update(
    transaction: &mut Transaction,
    vault: &Vault,
    scope: Scope,
    id: EndpointId,
) -> Result<Option<Endpoint>, StoreError> {
    let query = live(scope).filter(Column::Id.eq(id.0)).lock_exclusive();
    query
        .one(transaction.connection())
        .await?
        .map(|row| open(vault, row))
        .transpose()
}

/// The endpoints of an scope, oldest first. One whose secrets cannot be opened is there without them.
pub async fn list(
    connection: &impl ConnectionTrait,
    vault: &Vault,
    scope: Scope,
    page: Page<EndpointId>,
) -> Result<Listing<Loaded, EndpointId>, StoreError> {
    let mut query = live(scope).order_by_asc(Column::Id).limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.gt(after.0));
    }
    let rows = rows(connection, query).await?;
    let last = rows.iter().rev().find_map(|row| Columns::of(row, TABLE, "id"));
    let last = last.map(|(id, _)| EndpointId(id));
    let models: Vec<Model> = readable(TABLE, &rows);
    let listing = Listing::cut(models, &page, |row| EndpointId(row.id)).or_after(&page, rows.len(), last);
    let mut changes = Changes::default();
    for row in listing.items {
        // Logged.
        let _ = take_in(vault, row, &mut changes);
    }
    Ok(Listing {
        items: changes.endpoints,
        next: listing.next,
    })
}

/// How many endpoints an organization has in all its applications, deleted ones aside.
pub async fn count(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
) -> Result<u64, StoreError> {
    Ok(Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .filter(Column::DeletedAt.is_null())
        .count(connection)
        .await?)
}

/// Every endpoint that is not deleted, disabled ones included; with `since`, what changed after that version of all.
///
/// One whose secrets cannot be opened is logged and loaded without them: its deliveries are made and wait, and the others
/// do not notice. If that is so of all, the key is another one, which is an error.
pub async fn load(
    connection: &impl ConnectionTrait,
    vault: &Vault,
    since: Option<i64>,
) -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    let mut last = None;
    let mut fault = None;
    loop {
        let mut query = Entity::find().order_by_asc(Column::Id).limit(LOAD_CHUNK);
        query = match since {
            None => query.filter(Column::DeletedAt.is_null()),
            Some(version) => query.filter(Column::Version.gt(version)),
        };
        if let Some(last) = last {
            query = query.filter(Column::Id.gt(last));
        }
        let rows = rows(connection, query).await?;
        let ids: Vec<Option<Uuid>> = rows
            .iter()
            .map(|row| Some(Columns::of(row, TABLE, "id")?.0))
            .collect();
        for (row, id) in rows.iter().zip(&ids) {
            let Some(id) = id else { continue };
            if let Err(error) = take_in_row(vault, row, EndpointId(*id), &mut changes) {
                fault = Some(error);
            }
        }
        let before = last;
        last = ids.into_iter().flatten().next_back().or(last);
        if (rows.len() as u64) < LOAD_CHUNK || last == before {
            break;
        }
    }
    let none_opened = since.is_none() && changes.endpoints.iter().all(|loaded| !loaded.opened);
    match fault {
        Some(error) if none_opened => Err(error),
        _ => Ok(changes),
    }
}

/// The same as [`take_in`], of a row as the database gives it.
fn take_in_row(
    vault: &Vault,
    row: &QueryResult,
    id: EndpointId,
    changes: &mut Changes,
) -> Result<(), StoreError> {
    match Model::from_query_result(row, "").map_err(StoreError::from) {
        Ok(row) => take_in(vault, row, changes),
        Err(error) => {
            leave_out(TABLE, &error);
            changes.gone.push(id);
            Err(error)
        }
    }
}

/// How many of the first `limit` endpoints can be opened, and which cannot and why.
pub(crate) async fn try_to_open(
    connection: &impl ConnectionTrait,
    vault: &Vault,
    limit: u64,
) -> Result<(u64, Vec<(EndpointId, String)>), StoreError> {
    let query = Entity::find()
        .filter(Column::DeletedAt.is_null())
        .order_by_asc(Column::Id)
        .limit(limit);
    let (mut opened, mut closed) = (0, Vec::new());
    for row in &rows(connection, query).await? {
        let Some((id, _)) = Columns::of(row, TABLE, "id") else {
            continue;
        };
        let endpoint = Model::from_query_result(row, "").map_err(StoreError::from);
        match endpoint.and_then(|row| open(vault, row)) {
            Ok(_) => opened += 1,
            Err(error) => closed.push((EndpointId(id), error.reason())),
        }
    }
    Ok((opened, closed))
}

/// Adds a row to `changes`. Fails, in addition, if its secrets cannot be opened.
fn take_in(vault: &Vault, row: Model, changes: &mut Changes) -> Result<(), StoreError> {
    let id = EndpointId(row.id);
    if row.deleted_at.is_some() {
        changes.gone.push(id);
        return Ok(());
    }
    let error = match open(vault, row.clone()) {
        Ok(endpoint) => {
            changes.endpoints.push(Loaded {
                endpoint,
                opened: true,
            });
            return Ok(());
        }
        Err(error) => error,
    };
    tracing::error!(
        endpoint = %id,
        error = &error as &dyn std::error::Error,
        "an endpoint cannot be opened; its deliveries wait: set its secret and headers anew, or delete it"
    );
    match without_secrets(row) {
        Ok(endpoint) => changes.endpoints.push(Loaded {
            endpoint,
            opened: false,
        }),
        Err(_) => changes.gone.push(id),
    }
    Err(error)
}

/// The health of the endpoints whose health changed after the version `since`.
pub async fn load_health(connection: &impl ConnectionTrait, since: i64) -> Result<Vec<Health>, StoreError> {
    let rows: Vec<(Uuid, Option<i64>, Option<i64>)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::FailingSince, Column::FailingNotifiedAt])
        .filter(Column::HealthVersion.gt(since))
        .into_tuple()
        .all(connection)
        .await?;
    let health = |(id, since, notified_at): (Uuid, Option<i64>, Option<i64>)| Health {
        id: EndpointId(id),
        failing_since: since.map(Timestamp::from_micros),
        failing_notified_at: notified_at.map(Timestamp::from_micros),
    };
    Ok(rows.into_iter().map(health).collect())
}

/// Notes that an attempt at `at` failed; `false` if a failure is noted already, or if nothing is delivered there.
pub async fn note_failing(
    transaction: &mut Transaction,
    scope: Scope,
    id: EndpointId,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::FailingSince, Expr::value(at.as_micros()))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.eq(id.0))
        .filter(Column::FailingSince.is_null())
        .filter(Column::Enabled.eq(true))
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, id, Column::HealthVersion).await
}

/// Notes a success: whatever failed before is over. `false` if nothing had.
pub async fn note_success(
    transaction: &mut Transaction,
    scope: Scope,
    id: EndpointId,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::FailingSince, Expr::value(None::<i64>))
        .col_expr(Column::FailingNotifiedAt, Expr::value(None::<i64>))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.eq(id.0))
        .filter(Column::FailingSince.is_not_null())
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, id, Column::HealthVersion).await
}

/// Notes that the owner is told of a failure that began at `since`; `false` if they were told already, or if it ended.
pub async fn mark_notified(
    transaction: &mut Transaction,
    scope: Scope,
    id: EndpointId,
    since: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::FailingNotifiedAt, Expr::value(now.as_micros()))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.eq(id.0))
        .filter(Column::FailingSince.eq(since.as_micros()))
        .filter(Column::FailingNotifiedAt.is_null())
        .filter(Column::Enabled.eq(true))
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, id, Column::HealthVersion).await
}

/// Disables an endpoint on Demae's own account; `false` if it is disabled or deleted already.
pub async fn disable(
    transaction: &mut Transaction,
    scope: Scope,
    id: EndpointId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Enabled, Expr::value(false))
        .col_expr(Column::DisabledReason, Expr::value(reason))
        .col_expr(Column::UpdatedAt, Expr::value(now.as_micros()))
        .filter(in_scope::<Entity>(scope))
        .filter(Column::Id.eq(id.0))
        .filter(Column::Enabled.eq(true))
        .filter(Column::DeletedAt.is_null())
        .exec(transaction.connection())
        .await?;
    raise_if_changed(transaction, result.rows_affected, id, Column::Version).await
}

fn live(scope: Scope) -> Select<Entity> {
    Entity::find()
        .filter(in_scope::<Entity>(scope))
        .filter(Column::DeletedAt.is_null())
}

async fn raise_if_changed(
    transaction: &mut Transaction,
    rows: u64,
    id: EndpointId,
    stamped: Column,
) -> Result<bool, StoreError> {
    if rows > 0 {
        raise_version(transaction).await?;
        stamp(transaction, id, stamped).await?;
    }
    Ok(rows > 0)
}

/// Writes the counter's value, which this transaction raised, into the row.
async fn stamp(transaction: &mut Transaction, id: EndpointId, column: Column) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(column, raised_version())
        .filter(Column::Id.eq(id.0))
        .exec(transaction.connection())
        .await?;
    Ok(())
}

fn raised_version() -> Expr {
    Expr::cust("(SELECT value FROM counters WHERE name = 'endpoints')")
}

async fn raise_version(transaction: &mut Transaction) -> Result<(), StoreError> {
    counter::Entity::update_many()
        .col_expr(counter::Column::Value, Expr::col(counter::Column::Value).add(1))
        .filter(counter::Column::Name.eq("endpoints"))
        .exec(transaction.connection())
        .await?;
    Ok(())
}

/// The sealed form of [`PreviousSecret`].
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSecret {
    secret: Zeroizing<String>,
    /// Microseconds.
    expires_at: i64,
}

fn seal(vault: &Vault, endpoint: &Endpoint) -> Model {
    let owner = endpoint.id.0.as_bytes();
    let previous: Vec<_> = endpoint
        .previous_secrets
        .iter()
        .map(|previous| StoredSecret {
            secret: previous.secret.clone(),
            expires_at: previous.expires_at.as_micros(),
        })
        .collect();
    Model {
        id: endpoint.id.0,
        organization_id: endpoint.scope.organization.0,
        application_id: endpoint.scope.application.0,
        url: endpoint.url.clone(),
        event_names: to_json(&endpoint.event_names),
        name: endpoint.name.clone(),
        description: endpoint.description.clone(),
        headers: vault.seal(owner, Zeroizing::new(to_json(&endpoint.headers)).as_bytes()),
        public_headers: to_json(&endpoint.public_headers),
        rate_limit: endpoint.rate_limit.map(|limit| limit as i32),
        timeout_seconds: endpoint.timeout_seconds as i32,
        retry_schedule: endpoint.retry_schedule.as_ref().map(to_json),
        enabled: endpoint.enabled,
        dialect: endpoint.dialect.clone(),
        metadata: to_json(&endpoint.metadata),
        secret: vault.seal(owner, endpoint.secret.as_bytes()),
        previous_secrets: vault.seal(owner, Zeroizing::new(to_json(&previous)).as_bytes()),
        failing_since: endpoint.failing_since.map(Timestamp::as_micros),
        failing_notified_at: endpoint.failing_notified_at.map(Timestamp::as_micros),
        disabled_reason: endpoint.disabled_reason.clone(),
        created_at: endpoint.created_at.as_micros(),
        updated_at: endpoint.updated_at.as_micros(),
        deleted_at: None,
        // Stamped once the counter is raised.
        version: 0,
        health_version: 0,
    }
}

fn open(vault: &Vault, row: Model) -> Result<Endpoint, StoreError> {
    let open_text = |sealed: &[u8]| {
        let bytes = vault.open(row.id.as_bytes(), sealed)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| StoreError::Unreadable("a secret is not text"))?;
        Ok::<_, StoreError>(Zeroizing::new(text.to_owned()))
    };
    let previous: Vec<StoredSecret> =
        from_json(&open_text(&row.previous_secrets)?, "an endpoint's old secrets")?;
    let headers = from_json(&open_text(&row.headers)?, "an endpoint's headers")?;
    let secret = open_text(&row.secret)?;
    Ok(Endpoint {
        headers,
        secret,
        previous_secrets: previous
            .into_iter()
            .map(|stored| PreviousSecret {
                secret: stored.secret,
                expires_at: Timestamp::from_micros(stored.expires_at),
            })
            .collect(),
        ..without_secrets(row)?
    })
}

/// What can be read of an endpoint without opening anything.
fn without_secrets(row: Model) -> Result<Endpoint, StoreError> {
    Ok(Endpoint {
        id: EndpointId(row.id),
        scope: scope_of(row.organization_id, row.application_id),
        event_names: from_json(&row.event_names, "an endpoint's event names")?,
        headers: BTreeMap::new(),
        public_headers: from_json(&row.public_headers, "an endpoint's public headers")?,
        rate_limit: row.rate_limit.map(i32::unsigned_abs),
        timeout_seconds: row.timeout_seconds.unsigned_abs(),
        retry_schedule: row
            .retry_schedule
            .as_deref()
            .map(|text| from_json(text, "an endpoint's retry schedule"))
            .transpose()?,
        metadata: from_json(&row.metadata, "an endpoint's metadata")?,
        secret: Zeroizing::default(),
        previous_secrets: Vec::new(),
        url: row.url,
        name: row.name,
        description: row.description,
        enabled: row.enabled,
        dialect: row.dialect,
        failing_since: row.failing_since.map(Timestamp::from_micros),
        failing_notified_at: row.failing_notified_at.map(Timestamp::from_micros),
        disabled_reason: row.disabled_reason,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    })
}
