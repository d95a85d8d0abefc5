//! Jobs: work that goes on after its request was answered, in steps, by whichever process takes it.
//!
//! A process leases a job, does a bounded step, and notes its progress in the transaction of the step's effects, each
//! time on the condition that the lease is still its own. A process that dies loses nothing but its lease: the next one
//! goes on from the cursor.

use demae_event::{EndpointId, JobId, OrganizationId, Timestamp};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    UpdateMany,
    sea_query::{Expr, ExprTrait as _, LockBehavior, LockType},
};
use uuid::Uuid;

use super::{Listing, Page};
use crate::{
    StoreError, Transaction,
    entity::job::{ActiveModel, Column, Entity, Model},
};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Waiting or being worked on.
    Running,
    /// Done.
    Finished,
    /// Given up.
    Failed,
}

impl JobStatus {
    /// The word in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    fn from_word(word: &str) -> Result<Self, StoreError> {
        [Self::Running, Self::Finished, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or(StoreError::Unreadable("unknown job status"))
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// What kind of work it is.
    pub kind: String,
    /// The endpoint it is about.
    pub endpoint_id: EndpointId,
    /// How far it is.
    pub status: JobStatus,
    /// JSON: what was asked.
    pub parameters: String,
    /// JSON: how far it is, so that another process can go on.
    pub cursor: Option<String>,
    /// Rows looked at.
    pub examined: u64,
    /// Deliveries planned anew.
    pub resent: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// Until when somebody works on it; the lease by which progress is noted.
    pub lease_until: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its identity.
    pub id: JobId,
    /// The tenant.
    pub organization_id: OrganizationId,
    /// What kind of work it is.
    pub kind: &'static str,
    /// The endpoint it is about.
    pub endpoint_id: EndpointId,
    /// JSON: what was asked.
    pub parameters: String,
}

/// Writes a new job, for anybody to take.
pub async fn create(transaction: &mut Transaction, job: NewJob, now: Timestamp) -> Result<Job, StoreError> {
    let model = Model {
        id: job.id.0,
        organization_id: job.organization_id.0,
        kind: job.kind.to_owned(),
        endpoint_id: job.endpoint_id.0,
        status: JobStatus::Running.as_str().to_owned(),
        parameters: job.parameters,
        cursor: None,
        examined: 0,
        resent: 0,
        error: None,
        lease_until: None,
        created_at: now.as_micros(),
        updated_at: now.as_micros(),
    };
    Entity::insert(ActiveModel::from(model.clone()))
        .exec_without_returning(transaction.connection())
        .await?;
    read(model)
}

/// One job.
pub async fn find(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    id: JobId,
) -> Result<Option<Job>, StoreError> {
    let row = Entity::find_by_id(id.0)
        .filter(Column::OrganizationId.eq(organization.0))
        .one(connection)
        .await?;
    row.map(read).transpose()
}

/// The jobs of an organization, newest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    organization: OrganizationId,
    page: Page<JobId>,
) -> Result<Listing<Job, JobId>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::OrganizationId.eq(organization.0))
        .order_by_desc(Column::Id)
        .limit(page.rows());
    if let Some(after) = page.after {
        query = query.filter(Column::Id.lt(after.0));
    }
    let rows = query.all(connection).await?;
    Listing::cut(rows, &page, |row| JobId(row.id)).try_map(read)
}

/// How many of an endpoint's jobs of a kind are running, counted up to `limit`.
pub async fn count_running(
    connection: &impl ConnectionTrait,
    endpoint: EndpointId,
    kind: &str,
    limit: u64,
) -> Result<u64, StoreError> {
    let running: Vec<Uuid> = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Status.eq(JobStatus::Running.as_str()))
        .filter(Column::EndpointId.eq(endpoint.0))
        .filter(Column::Kind.eq(kind))
        .limit(limit)
        .into_tuple()
        .all(connection)
        .await?;
    Ok(running.len() as u64)
}

/// Whether there is a job of a kind that nobody works on.
pub async fn is_any_due(
    connection: &impl ConnectionTrait,
    kind: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let found = due(kind, now)
        .select_only()
        .column(Column::Id)
        .into_tuple::<Uuid>()
        .one(connection)
        .await?;
    Ok(found.is_some())
}

/// Takes the oldest job of a kind that nobody works on, until `until`.
pub async fn lease(
    transaction: &mut Transaction,
    kind: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Job>, StoreError> {
    // Locked, so that the cursor is not one that somebody else is moving on.
    let found = due(kind, now)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .one(transaction.connection())
        .await?;
    let Some(mut row) = found else { return Ok(None) };
    Entity::update_many()
        .col_expr(Column::LeaseUntil, Expr::value(until.as_micros()))
        .filter(Column::Id.eq(row.id))
        .exec(transaction.connection())
        .await?;
    row.lease_until = Some(until.as_micros());
    read(row).map(Some)
}

/// What a step of a job did.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where to go on; JSON.
    pub cursor: Option<String>,
    /// Rows looked at.
    pub examined: u64,
    /// Deliveries planned anew.
    pub resent: u64,
    /// What becomes of the job.
    pub next: NextStep,
}

/// What becomes of a job after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// The same process goes on; its lease now ends then.
    Continue(Timestamp),
    /// Anybody may go on.
    Yield,
    /// It is done.
    Finish,
    /// It is given up, for this reason.
    Fail(String),
}

/// Notes a step; `false` if the lease was lost, and then the step must be rolled back with this.
pub async fn advance(
    transaction: &mut Transaction,
    job: &mut Job,
    step: Step,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (status, lease_until, error) = match step.next {
        NextStep::Continue(until) => (JobStatus::Running, Some(until), None),
        NextStep::Yield => (JobStatus::Running, None, None),
        NextStep::Finish => (JobStatus::Finished, None, None),
        NextStep::Fail(reason) => (JobStatus::Failed, None, Some(reason)),
    };
    let result = held(job)
        .col_expr(Column::Status, Expr::value(status.as_str()))
        .col_expr(
            Column::LeaseUntil,
            Expr::value(lease_until.map(Timestamp::as_micros)),
        )
        .col_expr(Column::Cursor, Expr::value(step.cursor.clone()))
        .col_expr(Column::Error, Expr::value(error.clone()))
        .col_expr(
            Column::Examined,
            Expr::col(Column::Examined).add(step.examined as i64),
        )
        .col_expr(Column::Resent, Expr::col(Column::Resent).add(step.resent as i64))
        .col_expr(Column::UpdatedAt, Expr::value(now.as_micros()))
        .exec(transaction.connection())
        .await?;
    if result.rows_affected == 0 {
        return Ok(false);
    }
    job.status = status;
    job.lease_until = lease_until;
    job.cursor = step.cursor;
    job.error = error;
    job.examined += step.examined;
    job.resent += step.resent;
    job.updated_at = now;
    Ok(true)
}

fn due(kind: &str, now: Timestamp) -> Select<Entity> {
    Entity::find()
        .filter(Column::Status.eq(JobStatus::Running.as_str()))
        .filter(Column::Kind.eq(kind))
        .filter(
            Condition::any()
                .add(Column::LeaseUntil.is_null())
                .add(Column::LeaseUntil.lt(now.as_micros())),
        )
        .order_by_asc(Column::Id)
        .limit(1)
}

/// The job's row, if its lease is the one that `job` knows.
fn held(job: &Job) -> UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::Id.eq(job.id.0))
        .filter(Column::Status.eq(JobStatus::Running.as_str()))
        .filter(Column::LeaseUntil.eq(job.lease_until.map(Timestamp::as_micros)))
}

fn read(row: Model) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(row.id),
        organization_id: OrganizationId(row.organization_id),
        kind: row.kind,
        endpoint_id: EndpointId(row.endpoint_id),
        status: JobStatus::from_word(&row.status)?,
        parameters: row.parameters,
        cursor: row.cursor,
        examined: row.examined.unsigned_abs(),
        resent: row.resent.unsigned_abs(),
        error: row.error,
        lease_until: row.lease_until.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    })
}
