//! `demae openapi`.

use super::output;

/// Print the OpenAPI document
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// YAML instead of JSON
    #[arg(long)]
    yaml: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let document = demae_api_kaiten::document().value();
    let text = if args.yaml {
        serde_yaml_ng::to_string(document)?
    } else {
        serde_json::to_string_pretty(document)?
    };
    Ok(output::line(text.trim_end())?)
}
