//! Where settings come from, and which source wins.
//!
//! Sources are values, not the process's environment: whoever starts reads that once and hands it in, and tests hand
//! in what they like.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format as _, Toml},
    value::{Dict, Map, Tag, Value},
};

use super::fault::Fault;

/// The documentation of all settings and their defaults.
pub(crate) const DEFAULT_FILE: &str = include_str!("../../demae.default.toml");

/// The settings file that is read if it exists and no other is named.
const USUAL_FILE: &str = "demae.toml";

/// A setting's variable is this and its name in capitals.
const VARIABLE_PREFIX: &str = "DEMAE_";

/// Variables of the client commands, which are no settings of the server.
const CLIENT_VARIABLES: [&str; 4] = ["DEMAE_CONFIG", "DEMAE_TOKEN", "DEMAE_URL", "DEMAE_WEBHOOK_SECRET"];

/// The collector's address by its standard name (OpenTelemetry specification, "OpenTelemetry Protocol Exporter").
const STANDARD_OTLP_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A variable this similar to a setting's (0 to 1, by edits) is taken for a misspelling. Others are left alone:
/// orchestrators make up variables such as `DEMAE_SERVICE_HOST` for a service of that name.
const MISSPELLING: f64 = 0.75;

/// Everything that was said about settings.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// A settings file: where it is, and its text.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The environment.
    pub(crate) variables: Vec<(String, String)>,
    /// Flag as it was written, setting, value.
    pub(crate) flags: Vec<(String, String, String)>,
}

impl Sources {
    /// Reads the environment and the settings file: `config` if given, which must exist, or the usual one.
    pub(crate) fn from_process(
        config: Option<&Path>,
        flags: Vec<(String, String, String)>,
    ) -> anyhow::Result<Self> {
        let path = config.unwrap_or(Path::new(USUAL_FILE));
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some((path.to_owned(), text)),
            Err(error) if config.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read the settings file {}", path.display()));
            }
        };
        // A variable that is not valid text cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Ok(Self {
            file,
            variables,
            flags,
        })
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let found = self.variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone())
    }

    /// Merges all sources, later ones winning. Names that are no setting's are faults.
    pub(super) fn merge(&self) -> (Figment, Vec<Fault>) {
        let mut merger = Merger::new();
        if let Some((path, text)) = &self.file {
            merger.add_file(path, text);
        }
        for (name, value) in &self.variables {
            if name == STANDARD_OTLP_VARIABLE {
                merger.set("otlp_endpoint", value, format!("variable {name}"));
            }
        }
        for (name, value) in &self.variables {
            merger.add_variable(name, value);
        }
        for (flag, setting, value) in &self.flags {
            merger.add_flag(flag, setting, value);
        }
        (merger.figment, merger.faults)
    }
}

struct Merger {
    figment: Figment,
    known: Vec<String>,
    faults: Vec<Fault>,
}

impl Merger {
    fn new() -> Self {
        let defaults = Layer {
            origin: "default".to_owned(),
            values: parse_toml(DEFAULT_FILE).unwrap_or_default(),
        };
        let known = defaults.values.keys().cloned().collect();
        Self {
            figment: Figment::from(defaults),
            known,
            faults: Vec::new(),
        }
    }

    fn add_file(&mut self, path: &Path, text: &str) {
        let origin = path.display().to_string();
        match parse_toml(text) {
            Ok(mut values) => {
                values.retain(|name, _| self.is_known(name, &origin));
                self.layer(origin, values);
            }
            Err(error) => self.faults.push(Fault {
                setting: "(all)".to_owned(),
                origin,
                problem: format!("the file is not valid TOML: {error}"),
                remedy: "correct the line; nothing in this file was used".to_owned(),
            }),
        }
    }

    fn add_variable(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            return;
        };
        if CLIENT_VARIABLES.contains(&name) {
            return;
        }
        let setting = rest.to_ascii_lowercase();
        let origin = format!("variable {name}");
        if self.known.contains(&setting) {
            self.set(&setting, value, origin);
        } else if self.nearest(&setting).is_some() {
            self.is_known(&setting, &origin);
        }
    }

    fn add_flag(&mut self, flag: &str, setting: &str, value: &str) {
        let origin = format!("flag {flag}");
        if self.is_known(setting, &origin) {
            self.set(setting, value, origin);
        }
    }

    fn set(&mut self, setting: &str, value: &str, origin: String) {
        self.layer(origin, Dict::from([(setting.to_owned(), Value::from(value))]));
    }

    fn layer(&mut self, origin: String, values: Dict) {
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Layer { origin, values });
    }

    /// Whether `setting` exists; if not, that is a fault.
    fn is_known(&mut self, setting: &str, origin: &str) -> bool {
        if self.known.iter().any(|known| known == setting) {
            return true;
        }
        let remedy = match self.nearest(setting) {
            Some(near) => format!("did you mean {near}?"),
            None => "remove it; `demae serve --print-defaults` lists all settings".to_owned(),
        };
        self.faults.push(Fault {
            setting: setting.to_owned(),
            origin: origin.to_owned(),
            problem: "there is no such setting".to_owned(),
            remedy,
        });
        false
    }

    fn nearest(&self, setting: &str) -> Option<&str> {
        self.known
            .iter()
            .map(|known| {
                (
                    strsim::normalized_damerau_levenshtein(known, setting),
                    known.as_str(),
                )
            })
            .filter(|(similarity, _)| *similarity >= MISSPELLING)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, known)| known)
    }
}

fn parse_toml(text: &str) -> Result<Dict, Box<figment::Error>> {
    let values: Dict = Figment::from(Toml::string(text)).extract().map_err(Box::new)?;
    Ok(values
        .into_iter()
        .map(|(name, value)| (name, without_origin(value)))
        .collect())
}

/// The value as if it had just been made: figment keeps an origin that is there, and the parser's says nothing.
fn without_origin(value: Value) -> Value {
    let tag = Tag::Default;
    match value {
        Value::String(_, text) => Value::String(tag, text),
        Value::Char(_, character) => Value::Char(tag, character),
        Value::Bool(_, flag) => Value::Bool(tag, flag),
        Value::Num(_, number) => Value::Num(tag, number),
        Value::Empty(_, empty) => Value::Empty(tag, empty),
        Value::Array(_, items) => Value::Array(tag, items.into_iter().map(without_origin).collect()),
        // Only `source` holds tables; another is told as a fault of the name that holds it.
        Value::Dict(_, members) => Value::Dict(tag, members),
    }
}

/// Values of one origin, which figment remembers for each of them.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
