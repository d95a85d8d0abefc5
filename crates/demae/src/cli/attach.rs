//! `demae attach`.

use std::{
    io::{BufRead as _, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use demae_cdc::{
    DEFAULT_NAME, Mapping, Preset, SourceConfig, Target,
    attach::{Attachment, Plan},
    statement::Waiting,
};
use demae_event::OrganizationId;

use super::output;
use crate::config::slot_name;

/// Prepare somebody else's Postgres so that Demae delivers what is written there
///
/// Checks the server and the user's rights, shows the SQL that is missing (table, function `demae_emit`, publication,
/// replication slot), asks, runs it, and prints the [[source]] entry for the settings file. Run again, it changes nothing
/// that is right. See docs/attaching.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `postgres://user:password@host/database`; the password is never printed
    #[arg(value_name = "URL", env = "DEMAE_ATTACH_URL", hide_env_values = true)]
    url: String,
    /// What the table looks like: demae, seed, debezium or cloudevents
    #[arg(long, default_value = "demae", value_parser = preset)]
    preset: Preset,
    /// The outbox table, with its schema if that is not public; made if it is not there
    #[arg(long, default_value = "outbox_events")]
    table: String,
    /// The organization of all rows, if no column says it
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// The source's name, in logs and metrics [default: the database's]
    #[arg(long)]
    name: Option<String>,
    /// The slot's and publication's name; slots of all databases of a server share one name space
    #[arg(long, default_value = DEFAULT_NAME, value_parser = slot)]
    slot: String,
    /// Take events from messages in the log, too (`pg_logical_emit_message`): every role that may connect to the database
    /// can write them
    #[arg(long)]
    messages: bool,
    /// How long each statement may wait for others' transactions, in seconds; making the slot waits for all that write
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    wait: u32,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only look and show the SQL
    #[arg(long)]
    dry_run: bool,
}

fn preset(text: &str) -> Result<Preset, String> {
    text.parse()
        .map_err(|()| format!("write {}", Preset::ALL.map(Preset::name).join(", ")))
}

fn slot(text: &str) -> Result<String, String> {
    slot_name(text).map_err(|(problem, remedy)| format!("{problem}: {remedy}"))
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target: Target = args.url.parse()?;
    let name = args.name.clone().unwrap_or_else(|| plain_name(target.database()));
    let config = SourceConfig {
        publication: args.slot.clone(),
        slot: args.slot.clone(),
        messages: args.messages,
        ..SourceConfig::new(name, target, args.table.clone(), Mapping::default())
    };
    let attachment = Attachment::new(config, args.preset, args.organization);
    let plan = attachment.plan().await?;
    show(&attachment, &plan)?;
    if args.dry_run {
        return Ok(if plan.is_possible() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    if !plan.is_possible() {
        output::remark("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    if !args.yes && !agreed()? {
        output::remark("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    let limit = Duration::from_secs(args.wait.into());
    let mut tell = |waiting: &Waiting| output::remark(&format!("{waiting}; Ctrl-C gives up"));
    tokio::select! {
        installed = attachment.install(&plan, limit, &mut tell) => installed?,
        // The statement that waited goes with its connection.
        _ = tokio::signal::ctrl_c() => return given_up(&attachment).await,
    }
    output::remark("done; put this into demae.toml, and the URL into the variable it names:");
    output::line(&entry(&attachment, &plan))?;
    Ok(ExitCode::SUCCESS)
}

/// Says what is there, once the server has noticed.
async fn given_up(attachment: &Attachment) -> anyhow::Result<ExitCode> {
    output::remark("given up; waiting until the server has noticed");
    attachment.wait_until_none_is_unfinished().await?;
    output::remark("no half-made slot is left; run it again, it goes on from here");
    Ok(ExitCode::FAILURE)
}

fn show(attachment: &Attachment, plan: &Plan) -> anyhow::Result<()> {
    output::remark(&format!("{}:", attachment.config.target));
    for finding in &plan.findings {
        match &finding.fault {
            None => output::remark(&format!("  {} {}", output::good().apply_to("ok"), finding.what)),
            Some(fault) => output::remark(&format!(
                "  {} {fault}\n     {}",
                output::bad().apply_to("no"),
                fault.remedy()
            )),
        }
    }
    for note in &plan.notes {
        output::remark(&format!("  {note}"));
    }
    output::remark("to be run:");
    for statement in &plan.statements {
        output::line(&format!("{statement};"))?;
    }
    Ok(())
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is nobody to ask\nadd --yes to run the statements, or --dry-run to only see them");
    }
    output::remark("Run these statements? [y/N]");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The entry for the settings file. Without the URL: it may hold a password, and this is printed.
fn entry(attachment: &Attachment, plan: &Plan) -> String {
    let config = &attachment.config;
    let mut lines = vec![
        "[[source]]".to_owned(),
        format!("name = \"{}\"", config.name),
        format!(
            "url = \"${}_DATABASE_URL\"",
            config.name.to_uppercase().replace('-', "_")
        ),
        format!("preset = \"{}\"", attachment.preset.name()),
        format!("table = {:?}", config.table),
    ];
    if let Some(organization) = config.mapping.fixed_organization {
        lines.push(format!("organization = \"{organization}\""));
    }
    if plan.derives_ids {
        lines.push("derive_ids = true".to_owned());
    }
    if config.messages {
        lines.push("messages = true".to_owned());
    }
    if config.slot != DEFAULT_NAME {
        lines.push(format!("publication = \"{}\"", config.publication));
        lines.push(format!("slot = \"{}\"", config.slot));
    }
    lines.join("\n")
}

/// A database's name as the name of a source.
fn plain_name(database: &str) -> String {
    database
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '_'
            }
        })
        .collect()
}
