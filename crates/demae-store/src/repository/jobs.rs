//! Stores jobs: work that continues after its request was answered, in bounded steps.
//!
//! The row holds what was asked and how far the job is; a timer ([`super::timers`]) decides when and in which process its
//! steps run. A step's effects and its progress share a transaction. If a worker stops, the next one continues from the
//! cursor.

use demae_event::{EndpointId, JobId, OrganizationId, Scope, Timestamp};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait as _},
};
use uuid::Uuid;

use super::{
    Listing, Page,
    scoped::{in_scope, scope_of},
};
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
    /// The application of the endpoint, within its organization.
    pub scope: Scope,
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
    /// The application of the endpoint, within its organization.
    pub scope: Scope,
    /// What kind of work it is.
    pub kind: &'static str,
    /// The endpoint it is about.
    pub endpoint_id: EndpointId,
    /// JSON: what was asked.
    pub parameters: String,
}

/// Writes a new job. Its caller sets the timer that runs it, in the same transaction.
pub async fn create(transaction: &mut Transaction, job: NewJob, now: Timestamp) -> Result<Job, StoreError> {
    let model = Model {
        id: job.id.0,
        organization_id: job.scope.organization.0,
        application_id: job.scope.application.0,
        kind: job.kind.to_owned(),
        endpoint_id: job.endpoint_id.0,
        status: JobStatus::Running.as_str().to_owned(),
        parameters: job.parameters,
        cursor: None,
        examined: 0,
        resent: 0,
        error: None,
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
    scope: Scope,
    id: JobId,
) -> Result<Option<Job>, StoreError> {
    let row = Entity::find_by_id(id.0)
        .filter(in_scope::<Entity>(scope))
        .one(connection)
        .await?;
    row.map(read).transpose()
}

/// A job of an organization, whichever of its applications it belongs to: for the timer that runs the job.
pub async fn find_of_any_application(
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

/// The jobs of an application, newest first.
pub async fn list(
    connection: &impl ConnectionTrait,
    scope: Scope,
    page: Page<JobId>,
) -> Result<Listing<Job, JobId>, StoreError> {
    let mut query = Entity::find()
        .filter(in_scope::<Entity>(scope))
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
    /// Another step follows.
    Continue,
    /// The job is done.
    Finish,
    /// The job failed, for this reason.
    Fail(String),
}

/// Records a step in the transaction of its effects. Returns `false` if the job does not run (any more); then the
/// transaction must be rolled back.
///
/// Whoever calls this holds the job's timer ([`super::timers::hold`]), so no other worker takes a step at the same time.
pub async fn advance(
    transaction: &mut Transaction,
    job: &mut Job,
    step: Step,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (status, error) = match step.next {
        NextStep::Continue => (JobStatus::Running, None),
        NextStep::Finish => (JobStatus::Finished, None),
        NextStep::Fail(reason) => (JobStatus::Failed, Some(reason)),
    };
    let result = Entity::update_many()
        .col_expr(Column::Status, Expr::value(status.as_str()))
        .col_expr(Column::Cursor, Expr::value(step.cursor.clone()))
        .col_expr(Column::Error, Expr::value(error.clone()))
        .col_expr(
            Column::Examined,
            Expr::col(Column::Examined).add(step.examined as i64),
        )
        .col_expr(Column::Resent, Expr::col(Column::Resent).add(step.resent as i64))
        .col_expr(Column::UpdatedAt, Expr::value(now.as_micros()))
        .filter(Column::Id.eq(job.id.0))
        .filter(Column::Status.eq(JobStatus::Running.as_str()))
        .exec(transaction.connection())
        .await?;
    if result.rows_affected == 0 {
        return Ok(false);
    }
    job.status = status;
    job.cursor = step.cursor;
    job.error = error;
    job.examined += step.examined;
    job.resent += step.resent;
    job.updated_at = now;
    Ok(true)
}

fn read(row: Model) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(row.id),
        scope: scope_of(row.organization_id, row.application_id),
        kind: row.kind,
        endpoint_id: EndpointId(row.endpoint_id),
        status: JobStatus::from_word(&row.status)?,
        parameters: row.parameters,
        cursor: row.cursor,
        examined: row.examined.unsigned_abs(),
        resent: row.resent.unsigned_abs(),
        error: row.error,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    })
}
