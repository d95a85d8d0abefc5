//! `demae secret-key`: exchanges the key under which secrets are sealed.
//!
//! # Guarantees
//! The new key is stored before anything is sealed with it, and the old key is kept until nothing is sealed with it. The
//! command can be interrupted anywhere; a second run goes on.
//!
//! # Design
//! With a key file, servers must be stopped: a running one does not know the new key. With the setting `secret_key`, every
//! process learns both keys from its settings first, so no server stops.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Subcommand;
use demae_event::{Clock as _, SystemClock};
use demae_store::{
    Store, StoreError, inspect,
    repository::sealed::{self, Step},
};
use indicatif::ProgressBar;

use super::{output, settings::SettingsArgs};
use crate::{
    config::{Mode, Settings},
    data_folder::DatabaseLock,
    database, secret_key,
};

/// A worker whose last heartbeat is older does not run any more.
const HEARTBEAT_AGE: Duration = Duration::from_secs(30);
/// Unreadable rows that are named.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Rotate(RotateArgs),
}

/// Seal all stored secrets with a new key
///
/// With a key file: stop the servers first. Makes a new key, re-seals every secret and forgets the old key. With the
/// setting `secret_key`: first set the new key as `secret_key` and the old one as `previous_secret_keys` on every
/// process. Can be interrupted and run again.
#[derive(Debug, clap::Args)]
struct RotateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Rotate(args) = args.action;
    let settings = args.settings.load(Mode::Serve)?;
    if settings.secret_key.is_some() {
        rotate_setting(&settings).await
    } else {
        rotate_file(&settings).await
    }
}

async fn rotate_setting(settings: &Settings) -> anyhow::Result<ExitCode> {
    if settings.previous_secret_keys.is_empty() {
        bail!(
            "there is no previous key\n\
             set DEMAE_SECRET_KEY to a new key (openssl rand -base64 32) and DEMAE_PREVIOUS_SECRET_KEYS to the old one, on \
             every process, restart the processes, and run this again"
        );
    }
    let complete = reseal(settings).await?;
    if complete {
        output::remark(
            "remove DEMAE_PREVIOUS_SECRET_KEYS from every process, and the old key from its backups",
        );
    }
    Ok(exit_code(complete))
}

async fn rotate_file(settings: &Settings) -> anyhow::Result<ExitCode> {
    // Held to the end: no server starts meanwhile.
    let _lock = settings
        .sqlite_file()
        .map(|file| DatabaseLock::take(&file))
        .transpose()?;
    if settings.sqlite_file().is_none() {
        refuse_running_workers(settings).await?;
    }
    let path = secret_key::path(settings);
    if secret_key::begin_exchange(&path)? {
        output::remark("an earlier run did not finish; going on with its key");
    }
    let complete = reseal(settings).await?;
    if complete {
        secret_key::end_exchange(&path)?;
        output::remark(&format!(
            "back up {}; other processes of this database need the same file",
            path.display()
        ));
    }
    Ok(exit_code(complete))
}

async fn refuse_running_workers(settings: &Settings) -> anyhow::Result<()> {
    let store = database::open_without_key(settings).await?;
    let workers = inspect::live_workers(&store, SystemClock.now() - HEARTBEAT_AGE).await;
    store.close().await;
    match workers? {
        0 => Ok(()),
        count => bail!(
            "{count} workers of this database are running, and a running server does not know the new key\n\
             stop all servers first, or use DEMAE_SECRET_KEY with DEMAE_PREVIOUS_SECRET_KEYS, which needs no stop"
        ),
    }
}

/// Answers whether every stored secret is sealed with the current key now.
async fn reseal(settings: &Settings) -> anyhow::Result<bool> {
    let Some((vault, _)) = secret_key::find(settings)? else {
        bail!("there is no key\nstart a server first: it makes one");
    };
    let store = database::open(settings, vault).await?;
    store.migrate().await?;
    let bar = ProgressBar::new_spinner().with_message("re-sealing");
    let mut total = Total::default();
    let result = reseal_all(&store, &mut total, &bar).await;
    bar.finish_and_clear();
    store.close().await;
    result?;
    output::line(&format!("re-sealed {} rows", total.resealed))?;
    for row in total.unreadable.iter().take(NAMED) {
        output::remark(&format!("no key opens {row}"));
    }
    if total.unreadable.is_empty() {
        return Ok(true);
    }
    output::remark(&format!(
        "{} rows stay as they are, and so do the previous keys\n\
         name their key among previous_secret_keys, or give these endpoints new secrets, and run this again",
        total.unreadable.len()
    ));
    Ok(false)
}

#[derive(Default)]
struct Total {
    resealed: u64,
    unreadable: Vec<String>,
}

async fn reseal_all(store: &Store, total: &mut Total, bar: &ProgressBar) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let step = sealed::reseal_endpoints(store, after).await?;
        after = total.add(step, bar);
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let step = sealed::reseal_answers(store, after).await?;
        after = total.add(step, bar);
        if after.is_none() {
            return Ok(());
        }
    }
}

impl Total {
    fn add<K>(&mut self, step: Step<K>, bar: &ProgressBar) -> Option<K> {
        self.resealed += step.resealed;
        self.unreadable.extend(step.unreadable);
        bar.set_message(format!("re-sealed {} rows", self.resealed));
        bar.tick();
        step.next
    }
}

fn exit_code(complete: bool) -> ExitCode {
    if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
