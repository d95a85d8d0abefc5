//! Checks of what events pass before and beside Demae's own tables: slots, other databases, the broker, and what could
//! not become an event.

use std::time::Duration;

use demae_broker::Broker as _;
use demae_cdc::{CdcError, Reader, SourceConfig};
use demae_event::{Clock as _, SystemClock, Timestamp};
use demae_store::{
    Store, StoreError,
    inspect::{self, TroubledTimer, UnreadableRow},
    repository::rejected,
};

use super::Finding;
use crate::{
    config::{OutboxReading, Settings},
    relay::{broker, wal},
};

/// For each thing that is asked.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Rows of the outbox that are tried.
const OUTBOX_ROWS: u32 = 512;

/// Failed runs in a row after which a timer is reported.
const TIMER_FAILURES: u32 = 3;
/// A timer that should have run so long ago is reported.
const TIMER_DELAY: Duration = Duration::from_mins(5);
/// Timers that are named.
const TIMERS_NAMED: u64 = 5;

const OUTBOX: &str = "outbox";

/// What can be seen without Demae's own database.
pub(super) async fn beside(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.capture.outbox == OutboxReading::Wal {
        findings.push(match wal::own_config(settings) {
            Ok(config) => followed(OUTBOX, &config).await,
            Err(error) => Finding::fault(
                OUTBOX,
                format!("{error:#}"),
                "set outbox_source to poll, or correct it",
            ),
        });
    }
    for config in &settings.capture.sources {
        findings.push(followed("source", config).await);
    }
    if settings.broker.is_some() {
        findings.push(reach_broker(settings).await);
    }
    findings
}

/// Whether the log of a database can be followed.
async fn followed(check: &'static str, config: &SourceConfig) -> Finding {
    let label = format!("{} ({})", config.name, config.target.label());
    match tokio::time::timeout(TIMEOUT, Reader::check(config)).await {
        Ok(Ok(())) => Finding::good(check, format!("{label} can be followed")),
        Ok(Err(CdcError { fault, .. })) => Finding::fault(check, format!("{label}: {fault}"), fault.remedy()),
        Err(_) => Finding::fault(check, format!("{label}: no answer in time"), "check that it runs"),
    }
}

async fn reach_broker(settings: &Settings) -> Finding {
    const CHECK: &str = "broker";
    let Some(settings) = &settings.broker else {
        return Finding::good(CHECK, "none");
    };
    let label = settings.url.label();
    let mut letters = broker::rabbitmq(settings).dead_letters();
    match tokio::time::timeout(TIMEOUT, letters.count()).await {
        Ok(Ok(0)) => Finding::good(CHECK, format!("{label} answers; no dead letters")),
        Ok(Ok(count)) => Finding::warning(
            CHECK,
            format!("{label} answers; {count} dead letters"),
            "look at them: `demae dead-letters list`; then redrive or discard them",
        ),
        Ok(Err(error)) => Finding::fault(
            CHECK,
            format!("{label}: {:#}", anyhow::Error::new(error)),
            "check that it runs, and that DEMAE_BROKER_URL has the right host, virtual host, user and password",
        ),
        Err(_) => Finding::fault(CHECK, format!("{label}: no answer in time"), "check that it runs"),
    }
}

/// What Demae's own, migrated database tells.
pub(super) async fn within(settings: &Settings, store: &Store) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    findings.extend(slot(settings, store).await?);
    findings.extend(unreadable_outbox(store).await?);
    findings.extend(unreadable(&inspect::unreadable(store).await?));
    findings.push(troubled_timers(store, SystemClock.now()).await?);
    let count = rejected::count(store.reader()).await?;
    if count > 0 {
        findings.push(Finding::warning(
            "rejected events",
            format!("{count} could not become events"),
            "look at them: `demae dead-letters list`; then redrive or discard them",
        ));
    }
    Ok(findings)
}

/// One finding for each table with rows that cannot be read.
fn unreadable(rows: &[UnreadableRow]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rows in rows.chunk_by(|a, b| a.table == b.table) {
        let [first, ..] = rows else { continue };
        let remedy = match first.table {
            "endpoints" => "their deliveries wait; delete each and create it anew: `demae endpoint`",
            "messages" => "their deliveries fail; if the events matter, publish them anew",
            _ => "look at them: `demae dead-letters list`; then discard them",
        };
        findings.push(Finding::warning(
            "stored rows",
            format!(
                "{} rows of {} cannot be read; {}: {}",
                rows.len(),
                first.table,
                first.row,
                first.reason
            ),
            remedy,
        ));
    }
    findings
}

/// Rows at the beginning of the outbox that cannot become events.
async fn unreadable_outbox(store: &Store) -> Result<Option<Finding>, StoreError> {
    let rows = store.engine().unreadable_rows(OUTBOX_ROWS).await?;
    Ok(rows.first().map(|(position, reason)| {
        Finding::warning(
            OUTBOX,
            format!(
                "{} of the oldest {OUTBOX_ROWS} rows of outbox_events cannot become events; position {position}: {reason}",
                rows.len()
            ),
            "start a server: it moves them to the rejected events; then `demae dead-letters list`",
        )
    }))
}

/// Timers that fail again and again, and timers that no process runs.
async fn troubled_timers(store: &Store, now: Timestamp) -> Result<Finding, StoreError> {
    const CHECK: &str = "timers";
    let failing = inspect::failing_timers(store.reader(), TIMER_FAILURES, TIMERS_NAMED).await?;
    let overdue = inspect::overdue_timers(store.reader(), now - TIMER_DELAY).await?;
    let named = |timer: &TroubledTimer| format!("{} {}", timer.kind, timer.subject);
    let mut troubles: Vec<String> = failing
        .iter()
        .map(|timer| {
            let error = timer.last_error.as_deref().unwrap_or_default();
            format!("{} failed {} times: {error}", named(timer), timer.failures)
        })
        .collect();
    troubles.extend(
        overdue
            .iter()
            .filter(|timer| !failing.contains(timer))
            .map(|timer| {
                let late = now.since(timer.due_at).as_secs() / 60;
                format!("{} is overdue by {late} min", named(timer))
            }),
    );
    Ok(if troubles.is_empty() {
        Finding::good(CHECK, "none fails or is overdue")
    } else {
        let remedy = if overdue.is_empty() {
            "correct what the error names; the timer runs again by itself"
        } else {
            "run a server with the role worker (`demae serve --roles worker`); correct what an error names"
        };
        Finding::warning(CHECK, troubles.join("; "), remedy)
    })
}

/// The slot of Demae's own outbox: whether it is read, and how much the server keeps for it.
async fn slot(settings: &Settings, store: &Store) -> Result<Option<Finding>, StoreError> {
    const CHECK: &str = "replication slot";
    let name = &settings.capture.outbox_slot;
    let wanted = settings.capture.outbox == OutboxReading::Wal;
    let Some(slot) = inspect::slot(store, name).await? else {
        return Ok(wanted.then(|| Finding::good(CHECK, format!("{name} will be made by the first start"))));
    };
    let retained = format!("{} MB of log kept for it", slot.retained / 1_000_000);
    let detail = format!(
        "{name}: {}, {retained}",
        if slot.active { "read" } else { "not read" }
    );
    Ok(Some(if !wanted {
        Finding::warning(
            CHECK,
            format!("{detail}, but outbox_source is poll"),
            format!("if no other Demae uses it: SELECT pg_drop_replication_slot('{name}')"),
        )
    } else if slot.wal_status == "lost" {
        Finding::warning(
            CHECK,
            format!("{name} was given up by the server"),
            "it is made anew by the next start, which reads the table; raise max_slot_wal_keep_size",
        )
    } else if slot.retained > settings.capture.retained_warning {
        Finding::warning(
            CHECK,
            detail,
            "see why events are not routed, or the server's disk fills up",
        )
    } else {
        Finding::good(CHECK, detail)
    }))
}

#[cfg(test)]
mod tests {
    use demae_store::{
        StoreOptions, Vault,
        engine::LeaseGrant,
        repository::timers::{self, INSTALLATION, NewTimer},
    };
    use demae_testkit::sqlite::SqliteFile;

    use super::{super::Health, *};

    #[tokio::test]
    async fn a_timer_that_fails_again_and_again_or_that_nothing_runs_is_reported() {
        let file = SqliteFile::create().unwrap();
        let vault = Vault::from_text("a key of at least thirty-two characters").unwrap();
        let store = Store::connect(StoreOptions::new(file.url(), vault))
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let now = Timestamp::from_secs(1_790_000_000);
        assert_eq!(troubled_timers(&store, now).await.unwrap().health, Health::Good);
        for (kind, subject) in [("retention", "messages"), ("of.another.version", "one")] {
            let timer = NewTimer {
                kind,
                subject: subject.to_owned(),
                organization_id: INSTALLATION,
                due_at: now,
                data: None,
            };
            let mut transaction = store.begin().await.unwrap();
            timers::set(&mut transaction, timer, now).await.unwrap();
            transaction.commit().await.unwrap();
        }
        for run in 0..3_u64 {
            let at = now + Duration::from_secs(run);
            let grant = LeaseGrant {
                worker: uuid::Uuid::nil(),
                now: at,
                until: at + Duration::from_secs(30),
            };
            let mut transaction = store.begin().await.unwrap();
            let subjects = ["messages".to_owned()];
            let claimed = timers::claim(&mut transaction, "retention", &subjects, grant).await;
            let claimed = claimed.unwrap();
            let next = at + Duration::from_secs(1);
            let failed = timers::fail(&mut transaction, &claimed[0], "disk full", next).await;
            assert!(failed.unwrap());
            transaction.commit().await.unwrap();
        }
        let finding = troubled_timers(&store, now + Duration::from_mins(7))
            .await
            .unwrap();
        assert_eq!(finding.health, Health::Warning);
        assert_eq!(
            finding.detail,
            "retention messages failed 3 times: disk full; of.another.version one is overdue by 7 min"
        );
    }
}
