//! `demae migrate`.

use std::process::ExitCode;

use super::{output, settings::SettingsArgs};
use crate::{config::Mode, data_folder, database};

/// Bring the database's schema up to date
///
/// Servers do so themselves when they start; this is for those who would rather do it before. Several at once take
/// turns, and a server that still runs an older version goes on working.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what is missing; exit code 1 if something is
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args.settings.load(Mode::Serve)?;
    if !args.check {
        data_folder::prepare(&settings.data_dir)?;
    }
    let store = database::open_without_key(&settings).await?;
    let pending = store.pending_migrations().await?;
    if pending.is_empty() {
        output::line(&format!("{} is up to date", settings.database_label()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in &pending {
        output::line(&format!("missing: {name}"))?;
    }
    if args.check {
        output::remark("run `demae migrate`, or start a server");
        return Ok(ExitCode::FAILURE);
    }
    let spinner = indicatif::ProgressBar::new_spinner().with_message("migrating");
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    store.migrate().await?;
    spinner.finish_and_clear();
    output::line(&format!("{} is up to date now", settings.database_label()))?;
    store.close().await;
    Ok(ExitCode::SUCCESS)
}
