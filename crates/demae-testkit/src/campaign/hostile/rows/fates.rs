//! What became of the odd rows: each is an event, or a rejected event that an operator sees; none is both, or neither.
//!
//! The rows are found again by their marks, in the tables and in what `demae dead-letters list` prints.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use super::{
    super::{
        super::{sql::Connection, until::until},
        stage::Stage,
    },
    odd,
    written::Written,
};

/// The most that one list shows, and more rows than are remembered.
const LISTED: usize = 1_000;
/// How long the last rows may wait to be read, behind what the hostile tenant wrote.
const PATIENCE: Duration = Duration::from_mins(1);

/// What became of the last of them.
#[derive(Debug, Default)]
pub(in super::super) struct Fates {
    rejected: usize,
    delivered: usize,
}

/// Where a row was found, and how often.
#[derive(Default)]
struct Found {
    rejected: usize,
    delivered: usize,
}

/// Waits until the rows are read, and looks for each of the last ones. Nothing but these rows may be rejected.
pub(super) async fn judge(url: &str, written: &Written, stage: &Stage) -> Result<Fates> {
    let mut connection = Connection::open(url).await?;
    outbox_is_read(&mut connection).await?;
    let (rejected, events) = if connection.is_sqlite() {
        (REJECTED_IN_SQLITE, EVENTS_IN_SQLITE)
    } else {
        (REJECTED_IN_POSTGRES, EVENTS_IN_POSTGRES)
    };
    let rejected = connection.pairs(format!("{rejected} LIMIT {LISTED}")).await?;
    let events = connection.pairs(events.to_owned()).await?;
    connection.close().await?;
    let listed = stage.dead_letters(LISTED).await?;
    judge_list(&listed, rejected.iter().map(|(id, _)| id.as_slice()))?;
    judge_rows(written, &rejected, &events)
}

/// The newest rejected events: ids and bodies.
const REJECTED_IN_SQLITE: &str = "SELECT id, body FROM rejected_events ORDER BY id DESC";
const REJECTED_IN_POSTGRES: &str = "SELECT uuid_send(id), body FROM rejected_events ORDER BY id DESC";
/// Columns of events that may hold a mark.
const EVENTS_IN_SQLITE: &str = "SELECT CAST(event_type AS BLOB), CAST(substr(payload, 1, 100) AS BLOB) FROM messages \
                                WHERE event_type LIKE '%odd-%' OR substr(payload, 1, 100) LIKE '%odd-%'";
const EVENTS_IN_POSTGRES: &str = "SELECT convert_to(event_type, 'UTF8'), convert_to(substr(payload, 1, 100), 'UTF8') \
                                  FROM messages WHERE event_type LIKE '%odd-%' OR substr(payload, 1, 100) LIKE '%odd-%'";

async fn outbox_is_read(connection: &mut Connection) -> Result<()> {
    let last = "SELECT COALESCE(max(position), 0) FROM outbox_events".to_owned();
    let last = connection.number(last).await?;
    until(PATIENCE, "all rows of the outbox were taken out", async || {
        let left = format!("SELECT count(*) FROM outbox_events WHERE position <= {last}");
        let left = connection.number(left).await?;
        Ok(if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        })
    })
    .await
}

/// An operator sees all of them, each with a reason.
fn judge_list<'a>(listed: &Value, rejected: impl Iterator<Item = &'a [u8]>) -> Result<()> {
    let items = listed.as_array().context("no list of dead letters")?;
    let mut ids = HashSet::new();
    for item in items {
        let reason = item["reason"].as_str().unwrap_or_default();
        ensure!(!reason.is_empty(), "a dead letter without a reason: {item}");
        ids.insert(item["id"].as_str().unwrap_or_default().parse::<Uuid>()?);
    }
    let rejected: HashSet<Uuid> = rejected.map(Uuid::from_slice).collect::<Result<_, _>>()?;
    ensure!(
        ids == rejected,
        "{} dead letters are listed, and {} rows rejected",
        ids.len(),
        rejected.len()
    );
    Ok(())
}

fn judge_rows(
    written: &Written,
    rejected: &[(Vec<u8>, Vec<u8>)],
    events: &[(Vec<u8>, Vec<u8>)],
) -> Result<Fates> {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    for (_, body) in rejected {
        let number = odd::number_in(body).filter(|number| *number < written.next);
        let number = number.with_context(|| {
            let body = String::from_utf8_lossy(body);
            format!(
                "something else was rejected: {}",
                &body[..body.floor_char_boundary(1_000)]
            )
        })?;
        found.entry(number).or_default().rejected += 1;
    }
    for (event_type, payload) in events {
        if let Some(number) = odd::number_in(event_type).or_else(|| odd::number_in(payload)) {
            found.entry(number).or_default().delivered += 1;
        }
    }
    let mut fates = Fates::default();
    for (number, what) in &written.last {
        let Found { rejected, delivered } = found.remove(number).unwrap_or_default();
        ensure!(
            rejected + delivered == 1,
            "row {number} of the outbox ({what}) was rejected {rejected} times and became an event {delivered} times"
        );
        fates.rejected += rejected;
        fates.delivered += delivered;
    }
    Ok(fates)
}

impl fmt::Display for Fates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rejected, delivered } = self;
        write!(
            f,
            "of the last {} odd rows {rejected} were rejected and listed, {delivered} became events",
            rejected + delivered
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written() -> Written {
        Written {
            next: 3,
            last: [(1, "a"), (2, "b")].into(),
        }
    }

    fn row(text: &str) -> (Vec<u8>, Vec<u8>) {
        (Vec::new(), text.as_bytes().to_vec())
    }

    #[test]
    fn every_row_is_found_once() {
        let (first, second) = (row("odd-00000001"), row("odd-00000002"));
        let fates = judge_rows(
            &written(),
            std::slice::from_ref(&first),
            std::slice::from_ref(&second),
        )
        .unwrap();
        assert_eq!((fates.rejected, fates.delivered), (1, 1));

        let lost = judge_rows(&written(), std::slice::from_ref(&first), &[]).unwrap_err();
        assert!(lost.to_string().contains("row 2"), "{lost}");
        let twice = judge_rows(&written(), &[first, second.clone()], &[second]).unwrap_err();
        assert!(
            twice
                .to_string()
                .contains("rejected 1 times and became an event 1"),
            "{twice}"
        );
        let others = judge_rows(&written(), &[row("odd-00000003")], &[]).unwrap_err();
        assert!(others.to_string().contains("something else"), "{others}");
    }

    #[test]
    fn an_operator_sees_all_that_is_rejected() {
        let id = Uuid::from_u128(7);
        let listed = json!([{ "id": id, "reason": "payload" }]);
        judge_list(&listed, [id.as_bytes().as_slice()].into_iter()).unwrap();
        judge_list(&listed, std::iter::empty()).unwrap_err();
        judge_list(&json!([]), [id.as_bytes().as_slice()].into_iter()).unwrap_err();
        judge_list(
            &json!([{ "id": id, "reason": "" }]),
            [id.as_bytes().as_slice()].into_iter(),
        )
        .unwrap_err();
    }
}
