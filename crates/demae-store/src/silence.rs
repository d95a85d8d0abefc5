//! Postgres over lines that go silent.
//!
//! A line can end without a word: a firewall forgets it, a machine vanishes without closing what it had open. TCP goes on
//! sending for about a quarter of an hour before it says so, and never notices if nothing was to be sent. The database
//! library waits for as long, also where it looks after its pool: before it lends a connection, and when one comes back.
//! So what waits for Postgres has a limit:
//!
//! - [`answer`] is the limit of a call.
//! - A pool asks a connection that has rested for a sign of life before it lends it ([`lively`]).
//! - The engine lends its connections itself ([`Session`]): one whose call was given up is closed. Where that cannot be
//!   known, each is asked for a sign of life when it comes back ([`watched`]), which costs a round trip.
//!
//! A connection keeps the buffers of the largest call that it ever carried, and a pool keeps its connections. So a
//! connection gives large buffers back when it comes back to its pool ([`watched`], [`Session::answered_with`]).
//!
//! One wait remains: the library asks once more by itself when a connection comes back. A line that falls silent just then
//! costs its pool that one place, until TCP gives up.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sea_orm::sqlx::{
    self, Connection as _, PgConnection, PgPool, Postgres,
    pool::{PoolConnection, PoolConnectionMetadata},
    postgres::PgPoolOptions,
};
use tokio::time::timeout;

use crate::StoreError;

/// The longest call: the wait for a connection (10 s), the longest statement (15 s, after which the server gives it up
/// and says so), and a little.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a sign of life may take: a round trip.
const SIGN_LIMIT: Duration = Duration::from_secs(3);
/// A call of the engine that carries more bytes leaves buffers behind that are worth giving back.
const LARGE_CALL: usize = 256 * 1024;
/// A connection that was used so recently is lent without asking.
const FRESH: Duration = Duration::from_secs(1);

/// The call's answer, if it comes within [`ANSWER_LIMIT`]; otherwise [`StoreError::Busy`]. What was asked may have been
/// done all the same.
pub async fn answer<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    answer_within(ANSWER_LIMIT, call).await
}

/// [`answer`] with a limit of its own.
pub async fn answer_within<T, E>(
    limit: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError>
where
    StoreError: From<E>,
{
    match timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Busy("the database did not answer in time".to_owned())),
    }
}

/// A pool that lends no connection whose line went silent while it rested.
pub(crate) fn lively(options: PgPoolOptions) -> PgPoolOptions {
    options
        .test_before_acquire(false)
        .before_acquire(|connection, rested: PoolConnectionMetadata| {
            Box::pin(async move {
                if rested.idle_for >= FRESH {
                    sign_of_life(connection).await?;
                }
                Ok(true)
            })
        })
}

/// The same for users who give calls up and their connections back: it takes back none whose line went silent.
pub(crate) fn watched(options: PgPoolOptions) -> PgPoolOptions {
    lively(options).after_release(|connection, _| {
        Box::pin(async move {
            sign_of_life(connection).await?;
            connection.shrink_buffers();
            Ok(true)
        })
    })
}

/// A connection for one call. It goes back to its pool once it is [`Session::answered`], and is closed otherwise: after an
/// error, and when whoever made the call gave it up.
#[derive(Debug)]
pub(crate) struct Session {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Session {
    /// Takes one from the pool.
    pub(crate) async fn of(pool: &PgPool) -> Result<Self, StoreError> {
        Ok(Self {
            connection: pool.acquire().await?,
            answered: false,
        })
    }

    /// All that was asked has been answered.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }

    /// The same after a call that carried `bytes` of texts, one way or the other.
    pub(crate) fn answered_with(mut self, bytes: usize) {
        if bytes > LARGE_CALL {
            self.connection.shrink_buffers();
        }
        self.answered();
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

/// Fails if there is none: then the connection is closed without saying goodbye.
async fn sign_of_life(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    timeout(SIGN_LIMIT, connection.ping())
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}
