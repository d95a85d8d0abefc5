//! Checks of the database: whether it answers, what it is, and what we may do there.

use std::time::Duration;

use demae_event::{Clock as _, SystemClock, Timestamp};
use demae_store::{Backend, Store, StoreError, inspect};

use super::{Finding, pipeline};
use crate::{config::Settings, data_folder::DatabaseLock, database, secret_key};

/// For each step.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Clocks this far apart make leases and schedules of several processes disagree visibly.
const CLOCK_WARNING: Duration = Duration::from_secs(2);
/// Beyond this, leases end while they are held, and receivers refuse signatures (tolerance 5 minutes).
const CLOCK_FAULT: Duration = Duration::from_secs(30);

const DATABASE: &str = "database";

pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    if settings.sqlite_file().is_some_and(|file| !file.exists()) {
        // Looking must not create it.
        return vec![Finding::good(
            DATABASE,
            format!("{} will be made by the first start", settings.database_label()),
        )];
    }
    let store = match tokio::time::timeout(TIMEOUT, open(settings)).await {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return vec![unusable(settings, &error)],
        Err(_) => return vec![unreachable(settings, "no answer in time")],
    };
    let mut findings = Vec::new();
    match tokio::time::timeout(TIMEOUT, look(settings, &store, &mut findings)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.push(unreachable(settings, &format!("{:#}", anyhow::Error::new(error)))),
        Err(_) => findings.push(unreachable(settings, "it stopped answering")),
    }
    store.close().await;
    findings
}

/// With the real key, if there is one, so that stored secrets can be tried.
async fn open(settings: &Settings) -> anyhow::Result<Store> {
    match secret_key::find(settings) {
        Ok(Some((vault, _))) => database::open(settings, vault).await,
        // Told by its own check.
        Ok(None) | Err(_) => database::open_without_key(settings).await,
    }
}

/// A database that cannot be opened.
fn unusable(settings: &Settings, error: &anyhow::Error) -> Finding {
    let refused = error.downcast_ref::<StoreError>();
    match refused.and_then(|error| Some((error, database::remedy(error)?))) {
        Some((error, remedy)) => Finding::fault(DATABASE, error.to_string(), remedy),
        None => unreachable(settings, &format!("{:#}", error.root_cause())),
    }
}

fn unreachable(settings: &Settings, cause: &str) -> Finding {
    Finding::fault(
        DATABASE,
        format!("{} cannot be used: {cause}", settings.database_label()),
        "check that it runs, and that DEMAE_DATABASE_URL has the right host, name, user and password",
    )
}

async fn look(
    settings: &Settings,
    store: &Store,
    findings: &mut Vec<Finding>,
) -> Result<(), demae_store::StoreError> {
    let server = inspect::server(store).await?;
    findings.push(version(settings, store.backend(), &server));
    findings.push(clock(SystemClock.now(), server.now));
    findings.push(match inspect::try_permissions(store).await? {
        None => Finding::good("permissions", "tables can be made and written"),
        Some(refusal) => Finding::fault(
            "permissions",
            refusal,
            "let the database's user create tables in its schema: GRANT CREATE, USAGE ON SCHEMA public TO …",
        ),
    });
    let pending = store.pending_migrations().await?;
    if !pending.is_empty() {
        findings.push(Finding::warning(
            "migrations",
            format!("{} to be applied: {}", pending.len(), pending.join(", ")),
            "the next start does it, or `demae migrate`",
        ));
        return Ok(());
    }
    findings.push(Finding::good("migrations", "all applied"));
    findings.extend(secrets(settings, store).await?);
    findings.extend(pipeline::within(settings, store).await?);
    Ok(())
}

fn version(settings: &Settings, backend: Backend, server: &inspect::Server) -> Finding {
    let what = match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "Postgres",
    };
    let user = settings
        .sqlite_file()
        .and_then(|file| DatabaseLock::held_by(&file));
    let user = user.map_or_else(String::new, |process| format!(", served by {process}"));
    Finding::good(
        DATABASE,
        format!("{} ({what} {}){user}", settings.database_label(), server.version),
    )
}

fn clock(ours: Timestamp, theirs: Timestamp) -> Finding {
    const CHECK: &str = "clock";
    let apart = ours.since(theirs).max(theirs.since(ours));
    let detail = format!("{:.1} s apart from the database's", apart.as_secs_f64());
    let remedy = "let both machines keep their clocks by NTP (timedatectl)";
    if apart > CLOCK_FAULT {
        Finding::fault(CHECK, detail, remedy)
    } else if apart > CLOCK_WARNING {
        Finding::warning(CHECK, detail, remedy)
    } else {
        Finding::good(CHECK, detail)
    }
}

/// Whether the key opens what is stored.
async fn secrets(settings: &Settings, store: &Store) -> Result<Option<Finding>, demae_store::StoreError> {
    const CHECK: &str = "stored secrets";
    let has_key = matches!(secret_key::find(settings), Ok(Some(_)));
    Ok(match (inspect::try_secrets(store).await?, has_key) {
        (inspect::Secrets::None, _) => None,
        (inspect::Secrets::Readable, _) => Some(Finding::good(CHECK, "the key opens them")),
        (inspect::Secrets::Unreadable, true) => Some(Finding::fault(
            CHECK,
            "they were sealed with another key",
            "restore the key that was used before; without it each endpoint needs a new secret",
        )),
        (inspect::Secrets::Unreadable, false) => Some(Finding::fault(
            CHECK,
            "there are some, but no key to open them",
            "set DEMAE_SECRET_KEY to the key that was used before",
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn clocks_are_compared_both_ways() {
        let now = Timestamp::from_secs(1_000_000);
        let health = |seconds: i64| clock(now, Timestamp::from_secs(1_000_000 + seconds)).health;
        assert_eq!(
            [0, 3, -3, 31, -31].map(health),
            [
                Health::Good,
                Health::Warning,
                Health::Warning,
                Health::Fault,
                Health::Fault
            ]
        );
    }
}
