//! `demae doctor`: looks at everything a server needs and says what to do about each fault.
//!
//! It changes nothing that lasts: what it writes to try permissions is rolled back or removed. Each check stands alone,
//! so that one fault does not hide another; those that need the database are skipped without it.

mod checks;
mod database;
mod finding;
mod pipeline;

use std::process::ExitCode;

use serde_json::json;

use self::finding::{Finding, Health};
use crate::{
    cli::{output, settings::SettingsArgs},
    config::Mode,
};

/// Check settings, database, clock, addresses, keys, sources and broker, and say what to do
///
/// Give it the same settings as the server. Exit code 1 if something is wrong; warnings do not count.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let findings = examine(args).await?;
    if args.json {
        output::json(&json!(findings))?;
    } else {
        print(&findings)?;
    }
    let faulty = findings.iter().any(|finding| finding.health == Health::Fault);
    Ok(if faulty {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn examine(args: &Args) -> anyhow::Result<Vec<Finding>> {
    let settings = match args.settings.load_strict(Mode::Serve)? {
        Ok(settings) => settings,
        Err(faults) => {
            let as_finding = |fault: &crate::config::Fault| {
                Finding::fault(
                    "settings",
                    format!("{} ({}): {}", fault.setting, fault.origin, fault.problem),
                    fault.remedy.clone(),
                )
            };
            return Ok(faults.0.iter().map(as_finding).collect());
        }
    };
    let mut findings = vec![
        Finding::good("settings", "all usable"),
        checks::data_folder(&settings),
        checks::disk_space(&settings),
        checks::secret_key(&settings),
    ];
    findings.extend(checks::addresses(&settings).await);
    findings.extend(database::examine(&settings).await);
    findings.extend(pipeline::beside(&settings).await);
    Ok(findings)
}

fn print(findings: &[Finding]) -> std::io::Result<()> {
    for finding in findings {
        let (mark, style) = match finding.health {
            Health::Good => ("ok     ", output::good()),
            Health::Warning => ("warning", output::bold()),
            Health::Fault => ("FAULT  ", output::bad()),
        };
        output::line(&format!(
            "{}  {}: {}",
            style.apply_to(mark),
            finding.check,
            finding.detail
        ))?;
        for line in finding.remedy.lines() {
            output::line(&format!("         -> {line}"))?;
        }
    }
    Ok(())
}
