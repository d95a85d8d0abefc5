//! What arrived from outside and can never become an event: a row whose payload is no JSON, an envelope that cannot be
//! read, an event of an organization that does not exist.
//!
//! It is kept for a person to look at, so that it neither stands in the way of what comes after it nor vanishes
//! unseen. These rows belong to no organization (that is often what is wrong with them) and are the operator's to see.

use demae_event::{Timestamp, id::new_uuid};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Select, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Listing, Page,
    columns::{Columns, rows},
};
use crate::{
    StoreError, Transaction,
    entity::rejected_event::{ActiveModel, Column, Entity, Model},
};

/// So much of a body is kept, in bytes.
pub const BODY_LIMIT: usize = 64 * 1024;
/// So much of a reason is kept, in bytes.
const REASON_LIMIT: usize = 1_024;
/// So many are kept, however young: whoever sends rubbish without end must not fill the disk.
pub const KEPT: u64 = 10_000;
/// So many of one source are kept beside them until somebody has looked. Then the source has to wait.
pub const UNSEEN: u64 = 10_000;

/// As the index has it: a parameter would hide from the planner that it serves.
const IS_UNSEEN: &str = "unseen";

/// What is known of a rejected event, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its own identity; whatever id it should have had may be unreadable.
    pub id: Uuid,
    /// Where it came from: `dapr`, `source:NAME`, `broker`, `svix`.
    pub source: String,
    /// Why it cannot be an event.
    pub reason: String,
    /// How long its body was, in bytes.
    pub body_size: u64,
    /// When it arrived.
    pub received_at: Timestamp,
}

impl Rejected {
    /// Whether [`find`] answers all of the body.
    pub fn is_whole(&self) -> bool {
        self.body_size <= BODY_LIMIT as u64
    }
}

/// Something to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewRejected<'a> {
    /// Where it came from.
    pub source: &'a str,
    /// Why it cannot be an event.
    pub reason: &'a str,
    /// What arrived; the first [`BODY_LIMIT`] bytes are kept.
    pub body: &'a [u8],
}

/// A reason as the table takes it.
pub(crate) fn short_reason(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_LIMIT)].replace('\0', "\u{fffd}")
}

/// Keeps it; answers its id.
pub async fn insert(
    transaction: &mut Transaction,
    rejected: NewRejected<'_>,
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    write(transaction, rejected, false, now).await
}

/// Keeps it until [`mark_seen`], whatever retention says: for a source that can wait. The caller leaves it where it is
/// once [`unseen`] answers [`UNSEEN`].
pub async fn insert_unseen(
    transaction: &mut Transaction,
    rejected: NewRejected<'_>,
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    write(transaction, rejected, true, now).await
}

/// How many of this source nobody has looked at; at most `limit` are counted.
pub async fn unseen(connection: &impl ConnectionTrait, source: &str, limit: u64) -> Result<u64, StoreError> {
    let rows: Vec<bool> = Entity::find()
        .select_only()
        .column(Column::Unseen)
        .filter(Column::Source.eq(source))
        .filter(Expr::cust(IS_UNSEEN))
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows.len() as u64)
}

/// Somebody has looked at all of them; answers how many that is news of.
pub async fn mark_seen(transaction: &mut Transaction) -> Result<u64, StoreError> {
    let updated = Entity::update_many()
        .col_expr(Column::Unseen, Expr::value(false))
        .filter(Expr::cust(IS_UNSEEN))
        .exec(transaction.connection())
        .await?;
    Ok(updated.rows_affected)
}

async fn write(
    transaction: &mut Transaction,
    rejected: NewRejected<'_>,
    unseen: bool,
    now: Timestamp,
) -> Result<Uuid, StoreError> {
    let id = new_uuid(now);
    let kept = rejected.body.len().min(BODY_LIMIT);
    let row = ActiveModel::from(Model {
        id,
        source: rejected.source.replace('\0', "\u{fffd}"),
        reason: short_reason(rejected.reason),
        body: rejected.body[..kept].to_vec(),
        body_size: rejected.body.len() as i64,
        received_at: now.as_micros(),
        unseen,
    });
    Entity::insert(row)
        .exec_without_returning(transaction.connection())
        .await?;
    Ok(id)
}

/// The last to arrive first.
pub async fn list(
    connection: &impl ConnectionTrait,
    page: Page<Uuid>,
) -> Result<Listing<Rejected, Uuid>, StoreError> {
    let mut query = without_bodies().limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.lt(after));
    }
    let rows = rows(connection, query).await?;
    let items: Vec<_> = rows.iter().filter_map(|row| Some(read(row)?.0)).collect();
    let last = items.last().map(|rejected| rejected.id);
    Ok(Listing::cut(items, &page, |rejected| rejected.id).or_after(&page, rows.len(), last))
}

fn without_bodies() -> Select<Entity> {
    Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::Source,
            Column::Reason,
            Column::BodySize,
            Column::ReceivedAt,
        ])
        .order_by_desc(Column::Id)
}

/// One, with what was kept of its body.
pub async fn find(
    connection: &impl ConnectionTrait,
    id: Uuid,
) -> Result<Option<(Rejected, Vec<u8>)>, StoreError> {
    let rows = rows(connection, Entity::find_by_id(id)).await?;
    Ok(rows.first().and_then(|row| {
        let (rejected, mut columns) = read(row)?;
        Some((rejected, columns.get("body")))
    }))
}

/// All but the body. What cannot be read is empty.
fn read(row: &QueryResult) -> Option<(Rejected, Columns<'_>)> {
    let (id, mut columns) = Columns::of(row, "rejected_events", "id")?;
    let mut rejected = Rejected {
        id,
        source: columns.get("source"),
        reason: columns.get("reason"),
        body_size: columns.get::<i64>("body_size").unsigned_abs(),
        received_at: Timestamp::from_micros(columns.get("received_at")),
    };
    if let Some(fault) = columns.fault() {
        rejected.reason = format!("{} ({fault})", rejected.reason);
    }
    Some((rejected, columns))
}

/// Those of the last `limit` that cannot be read, and why. Bodies are bytes, which always can.
pub(crate) async fn unreadable(
    connection: &impl ConnectionTrait,
    limit: u64,
) -> Result<Vec<(Uuid, String)>, StoreError> {
    let rows = rows(connection, without_bodies().limit(limit)).await?;
    let faults = rows.iter().filter_map(|row| {
        let (rejected, columns) = read(row)?;
        Some((rejected.id, columns.fault()?.to_owned()))
    });
    Ok(faults.collect())
}

/// How many there are.
pub async fn count(connection: &impl ConnectionTrait) -> Result<u64, StoreError> {
    Ok(Entity::find().count(connection).await?)
}

/// Forgets one; `false` if it is not there.
pub async fn delete(transaction: &mut Transaction, id: Uuid) -> Result<bool, StoreError> {
    let deleted = Entity::delete_by_id(id).exec(transaction.connection()).await?;
    Ok(deleted.rows_affected == 1)
}

/// Where the rows that are kept begin, if there are more. Unseen ones do not count.
pub(super) async fn oldest_kept(
    connection: &impl ConnectionTrait,
    kept: u64,
) -> Result<Option<Uuid>, StoreError> {
    Ok(Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Unseen.eq(false))
        .order_by_desc(Column::Id)
        .offset(kept.saturating_sub(1))
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?)
}
