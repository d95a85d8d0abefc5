//! Rows of the outbox that cannot be read, or cannot become an event, written in SQL between the bystander's.
//!
//! Tests that such a row is set aside where an operator sees it ([`fates`]), and that what is behind it goes on: the
//! bystander's rows are. A row that the database itself refuses is counted too: a constraint is the best defence.

mod fates;
mod odd;
mod written;

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::time::timeout;

pub(super) use self::fates::Fates;
use self::written::Written;
use super::{
    super::sql::Connection,
    actor::{Actor, Outcomes, once},
    stage::Stage,
};

/// For a connection and a statement.
const SQL_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Rows {
    url: String,
    organization: String,
    written: Arc<Mutex<Written>>,
}

impl Rows {
    pub(super) fn new(stage: &Stage) -> Self {
        Self {
            url: stage.url.clone(),
            organization: stage.hostile.organization.clone(),
            written: Arc::default(),
        }
    }

    async fn write(&self, random: &mut SmallRng) -> sqlx::Result<&'static str> {
        let mut connection = Connection::open(&self.url).await?;
        let rows = if connection.is_sqlite() {
            odd::SQLITE
        } else {
            odd::POSTGRES
        };
        let (what, columns) = rows.choose(random).expect("there are rows");
        let organization = if random.random_ratio(1, 10) {
            uuid::Builder::from_random_bytes(random.random())
                .into_uuid()
                .to_string()
        } else {
            self.organization.clone()
        };
        let number = self.written().next_number();
        connection
            .execute(odd::insert(number, &organization, columns))
            .await?;
        self.written().note(number, what);
        connection.close().await?;
        Ok(what)
    }

    /// Waits until the rows are read, and looks for each of the last ones. Nothing but these rows may be rejected.
    pub(super) async fn judge(&self, stage: &Stage) -> Result<Fates> {
        let written = self.written().clone();
        fates::judge(&self.url, &written, stage).await
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Actor for Rows {
    const NAME: &'static str = "odd rows";
    const COPIES: usize = 1;
    const PAUSE_MS: RangeInclusive<u64> = 50..=500;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        once(match timeout(SQL_LIMIT, self.write(random)).await {
            Ok(Ok(what)) => what.to_owned(),
            Ok(Err(sqlx::Error::Database(_))) => "refused by the database".to_owned(),
            Ok(Err(error)) => format!("not written: {error}"),
            Err(_) => "not written in time".to_owned(),
        })
    }
}
