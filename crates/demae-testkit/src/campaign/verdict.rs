//! The judgement that needs the servers: that nothing is stuck, and that the history of each delivery is in order.
//!
//! # The history
//!
//! An attempt's number is one more than the attempts recorded before it was leased, and only the holder of the lease moves
//! the delivery on. So a delivery with `n` attempts has records of the numbers 1 to `n`; there may be several of one
//! number, because an attempt whose lease was lost is kept too. Whatever has the number `k + 1` was leased after an attempt
//! with the number `k` was recorded, and began after it had ended. Each number before the last has an attempt that failed
//! with another one planned, the last one has a success.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use sqlx::{Connection as _, FromRow, PgConnection, Row as _, postgres::PgRow};

use super::{books::Books, options::Options, stage::Servers, until::until, way::PATHS};

/// How long what remains may take once everything has arrived: retries that are planned, leases that end by time (60 s),
/// a slot that moves with the next heartbeat.
const PATIENCE: Duration = Duration::from_mins(3);
/// Where events wait between relay and workers, and where those end that no worker can use.
const QUEUE: &str = "demae.events";
const DEAD_LETTERS: &str = "kaiten.events.dlq";
/// Rounding of durations to milliseconds.
const ROUNDING_MICROS: i64 = 1_000;

/// How it ended.
#[derive(Debug)]
pub(super) struct Settled {
    deliveries: i64,
    attempts: i64,
}

/// Waits until nothing is left to do anywhere.
pub(super) async fn settle(options: &Options, servers: &Servers) -> Result<Settled> {
    let mut connection = PgConnection::connect(&servers.database).await?;
    let written: String = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text")
        .fetch_one(&mut connection)
        .await?;
    until(PATIENCE, "no event and no delivery is left", async || {
        let (events, waiting, leased): (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM outbox_events), count(*) FILTER (WHERE state = 0), \
             count(*) FILTER (WHERE state = 1) FROM deliveries WHERE state IN (0, 1)",
        )
        .fetch_one(&mut connection)
        .await?;
        let left = format!("{events} events in the outbox, {waiting} deliveries wait, {leased} are leased");
        Ok(if events + waiting + leased == 0 {
            Ok(())
        } else {
            Err(left)
        })
    })
    .await?;
    if options.wal {
        until(PATIENCE, "the slot has moved past the last write", async || {
            let slots: Vec<(String, bool)> = sqlx::query_as(
                "SELECT slot_name || ' at ' || coalesce(confirmed_flush_lsn::text, '?') || ' of ' || $1, \
                 coalesce(confirmed_flush_lsn >= $1::pg_lsn, false) FROM pg_replication_slots",
            )
            .bind(&written)
            .fetch_all(&mut connection)
            .await?;
            let passed = !slots.is_empty() && slots.iter().all(|(_, passed)| *passed);
            Ok(if passed { Ok(()) } else { Err(format!("{slots:?}")) })
        })
        .await?;
    }
    if let Some(rabbitmq) = &servers.rabbitmq {
        let administration = rabbitmq.administration();
        for queue in [QUEUE, DEAD_LETTERS] {
            until(PATIENCE, &format!("{queue} is empty"), async || {
                Ok(match administration.queue_depth(queue).await? {
                    Some((0, 0)) => Ok(()),
                    Some((ready, unacknowledged)) => Err(format!(
                        "{ready} messages wait, {unacknowledged} are not acknowledged"
                    )),
                    None => Err("they are not counted yet".to_owned()),
                })
            })
            .await?;
        }
    }
    let (deliveries, attempts, unsuccessful, held, rejected): (i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), (SELECT count(*) FROM attempts), count(*) FILTER (WHERE state <> 2), \
         count(*) FILTER (WHERE lease IS NOT NULL), (SELECT count(*) FROM rejected_events) FROM deliveries",
    )
    .fetch_one(&mut connection)
    .await?;
    ensure!(unsuccessful == 0, "{unsuccessful} deliveries did not succeed");
    ensure!(held == 0, "{held} finished deliveries are still leased");
    ensure!(rejected == 0, "{rejected} events were rejected");
    Ok(Settled { deliveries, attempts })
}

/// An attempt as it is in the history.
#[derive(Debug, Clone)]
struct Attempt {
    delivery: String,
    /// Of the delivery, in the end.
    attempts: i32,
    path: String,
    event: i64,
    number: i32,
    /// 0: success; 1: failed, another one planned.
    status: i16,
    started_at: i64,
    duration_ms: i32,
}

impl FromRow<'_, PgRow> for Attempt {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            delivery: row.try_get("delivery")?,
            attempts: row.try_get("attempts")?,
            path: row.try_get("path")?,
            event: row.try_get("event")?,
            number: row.try_get("number")?,
            status: row.try_get("status")?,
            started_at: row.try_get("started_at")?,
            duration_ms: row.try_get("duration_ms")?,
        })
    }
}

/// Reads the whole history, a delivery at a time, and judges each.
pub(super) async fn judge_history(servers: &Servers, books: &Books) -> Result<()> {
    let mut connection = PgConnection::connect(&servers.database).await?;
    let mut rows = sqlx::query_as::<_, Attempt>(
        "SELECT d.endpoint_id || ' ' || d.event_id AS delivery, d.attempts, e.url AS path, \
         coalesce((m.payload::jsonb ->> 'number')::bigint, \
                  substring(m.payload::jsonb ->> 'slug' FROM '[0-9]+$')::bigint) AS event, \
         coalesce(a.number, 0) AS number, coalesce(a.status, 0::smallint) AS status, \
         coalesce(a.started_at, 0) AS started_at, coalesce(a.duration_ms, 0) AS duration_ms \
         FROM deliveries d JOIN endpoints e ON e.id = d.endpoint_id JOIN messages m ON m.event_id = d.event_id \
         LEFT JOIN attempts a ON a.endpoint_id = d.endpoint_id AND a.event_id = d.event_id \
         ORDER BY d.endpoint_id, d.event_id, a.number, a.started_at",
    )
    .fetch(&mut connection);
    let mut delivery: Vec<Attempt> = Vec::new();
    while let Some(attempt) = rows.try_next().await? {
        if delivery
            .first()
            .is_some_and(|first| first.delivery != attempt.delivery)
        {
            judge_delivery(&delivery, books)?;
            delivery.clear();
        }
        delivery.push(attempt);
    }
    judge_delivery(&delivery, books)
}

fn judge_delivery(history: &[Attempt], books: &Books) -> Result<()> {
    let Some(first) = history.first() else {
        return Ok(());
    };
    judge_order(history).with_context(|| format!("the history of a delivery: {history:#?}"))?;
    let path = PATHS
        .into_iter()
        .find(|path| first.path.ends_with(path))
        .context("an endpoint that is not ours")?;
    let accepted = books
        .accepted(usize::try_from(first.event)?, path)
        .context("an event that nobody wrote")?;
    let successes = history.iter().filter(|attempt| attempt.status == 0).count();
    ensure!(
        successes <= accepted as usize,
        "the history has more successes than arrived ({accepted}): {history:#?}"
    );
    Ok(())
}

/// What the module's documentation says of a delivery's attempts, which are sorted by number.
fn judge_order(history: &[Attempt]) -> Result<()> {
    let last = history.first().context("no attempt")?.attempts;
    let of = |number: i32| history.iter().filter(move |attempt| attempt.number == number);
    ensure!(last >= 1, "it was finished without an attempt");
    for attempt in history {
        ensure!(
            (1..=last).contains(&attempt.number),
            "number {} of {last}",
            attempt.number
        );
        ensure!(matches!(attempt.status, 0 | 1), "status {}", attempt.status);
    }
    for number in 1..last {
        ensure!(
            of(number).any(|attempt| attempt.status == 1),
            "nothing led on from {number}"
        );
        let end = of(number).map(Attempt::ended_at).min().unwrap_or_default();
        for next in of(number + 1) {
            ensure!(
                next.started_at + ROUNDING_MICROS >= end,
                "{} began before {number} had ended",
                number + 1
            );
        }
    }
    ensure!(
        of(last).any(|attempt| attempt.status == 0),
        "the last one is no success"
    );
    Ok(())
}

impl Attempt {
    fn ended_at(&self) -> i64 {
        self.started_at + i64::from(self.duration_ms) * 1_000
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deliveries, attempts } = self;
        write!(
            f,
            "{deliveries} deliveries, all succeeded, by {attempts} attempts in order; nothing is left anywhere"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: i32, status: i16, started_at: i64, duration_ms: i32) -> Attempt {
        Attempt {
            delivery: String::new(),
            attempts: 2,
            path: String::new(),
            event: 0,
            number,
            status,
            started_at,
            duration_ms,
        }
    }

    #[test]
    fn failures_and_then_a_success_are_in_order() {
        assert!(judge_order(&[attempt(1, 1, 0, 5), attempt(2, 0, 5_000, 5)]).is_ok());
    }

    #[test]
    fn an_attempt_that_lost_its_lease_may_be_there_too() {
        let late = attempt(1, 0, 2_000, 60);
        assert!(judge_order(&[attempt(1, 1, 0, 5), late, attempt(2, 0, 5_000, 5)]).is_ok());
    }

    #[test]
    fn a_gap_a_missing_success_and_an_overlap_are_not() {
        for history in [
            vec![],
            vec![attempt(2, 0, 0, 5)],
            vec![attempt(1, 1, 0, 5)],
            vec![attempt(1, 0, 0, 5), attempt(2, 0, 5_000, 5)],
            vec![attempt(1, 1, 0, 5), attempt(2, 1, 5_000, 5)],
            vec![attempt(1, 1, 0, 5), attempt(2, 2, 5_000, 5)],
            vec![attempt(1, 1, 0, 50), attempt(2, 0, 5_000, 5)],
            vec![
                attempt(1, 1, 0, 5),
                attempt(2, 0, 5_000, 5),
                attempt(3, 0, 15_000, 5),
            ],
        ] {
            assert!(judge_order(&history).is_err(), "{history:?}");
        }
    }
}
