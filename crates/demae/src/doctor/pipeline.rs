//! Checks of what events pass before and beside Demae's own tables: slots, other databases, the broker, and what could
//! not become an event.

use std::time::Duration;

use demae_broker::Broker as _;
use demae_cdc::{CdcError, Reader, SourceConfig};
use demae_store::{Store, StoreError, inspect, repository::rejected};

use super::Finding;
use crate::{
    config::{OutboxReading, Settings},
    relay::{broker, wal},
};

/// For each thing that is asked.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Rows of the outbox that are tried.
const OUTBOX_ROWS: u32 = 512;

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
    findings.extend(unreadable(store).await?);
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

/// Rows at the beginning of the outbox that cannot become events.
async fn unreadable(store: &Store) -> Result<Option<Finding>, StoreError> {
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
