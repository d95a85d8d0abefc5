//! Flags of the commands that need the server's settings.

use std::path::PathBuf;

use crate::config::{Faults, Mode, Settings, Sources};

/// Settings on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SettingsArgs {
    /// Settings file [default: demae.toml, if there is one]
    #[arg(global = true, long, value_name = "FILE", env = "DEMAE_CONFIG")]
    config: Option<PathBuf>,
    /// Where Demae keeps its files
    #[arg(global = true, long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// sqlite:… or postgres://…
    #[arg(global = true, long, value_name = "URL")]
    database_url: Option<String>,
    /// Addresses to listen on, separated by commas
    #[arg(global = true, long, value_name = "ADDRESSES")]
    listen: Option<String>,
    /// Any setting by name; may be repeated
    #[arg(global = true, long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    others: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl SettingsArgs {
    /// Reads all settings; a fault is a [`Faults`] inside the error.
    pub(crate) fn load(&self, mode: Mode) -> anyhow::Result<Settings> {
        Ok(self.load_strict(mode)??)
    }

    /// The same, with the faults apart from a settings file that cannot be read.
    pub(crate) fn load_strict(&self, mode: Mode) -> anyhow::Result<Result<Settings, Faults>> {
        let own = [
            ("data_dir", &self.data_dir),
            ("database_url", &self.database_url),
            ("listen", &self.listen),
        ];
        let flags = own
            .into_iter()
            .filter_map(|(name, value)| {
                Some((
                    format!("--{}", name.replace('_', "-")),
                    name.to_owned(),
                    value.clone()?,
                ))
            })
            .chain(
                self.others
                    .iter()
                    .map(|(name, value)| ("--set".to_owned(), name.clone(), value.clone())),
            )
            .collect();
        let sources = Sources::from_process(self.config.as_deref(), flags)?;
        Ok(Settings::load(&sources, mode))
    }
}
