//! Reads settings one by one, going on after a fault so that all of them are found in one run.

use figment::{
    Figment,
    value::{Dict, Value},
};

use super::fault::{Fault, Faults};

/// What a parser says about a text it cannot use: the problem, then the remedy.
pub(super) type Problem = (String, String);

pub(super) struct Reader {
    figment: Figment,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(figment: Figment, faults: Vec<Fault>) -> Self {
        Self { figment, faults }
    }

    /// The setting's text. Empty if it is not set.
    pub(super) fn text(&mut self, setting: &str) -> String {
        let found = self
            .figment
            .find_value(setting)
            .ok()
            .and_then(|value| scalar(&value));
        found.unwrap_or_else(|| {
            self.fault(
                setting,
                "this setting takes a single value",
                "write one text or number",
            );
            String::new()
        })
    }

    /// The setting, if it is set and `parse` can use it.
    pub(super) fn optional<T>(
        &mut self,
        setting: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        parse(&text)
            .map_err(|(problem, remedy)| self.fault(setting, problem, remedy))
            .ok()
    }

    /// The setting, or after a fault a value to go on with: the result is thrown away in the end.
    pub(super) fn one<T: Default>(&mut self, setting: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> T {
        let text = self.text(setting);
        if text.is_empty() && !self.has_fault(setting) {
            self.fault(
                setting,
                "it is empty",
                "give it a value, or leave it out for the default",
            );
        }
        if self.has_fault(setting) {
            return T::default();
        }
        match parse(&text) {
            Ok(value) => value,
            Err((problem, remedy)) => {
                self.fault(setting, problem, remedy);
                T::default()
            }
        }
    }

    /// The items of a list, written as a TOML array or separated by commas. Each bad item is a fault.
    pub(super) fn list<T>(&mut self, setting: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Vec<T> {
        let found = self
            .figment
            .find_value(setting)
            .ok()
            .and_then(|value| items(&value));
        let items = found.unwrap_or_else(|| {
            self.fault(
                setting,
                "this setting takes a list",
                "write an array, or items separated by commas",
            );
            Vec::new()
        });
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match parse(&item) {
                Ok(value) => values.push(value),
                Err((problem, remedy)) => self.fault(setting, problem, remedy),
            }
        }
        values
    }

    /// The tables of a list of tables.
    pub(super) fn tables(&mut self, setting: &str) -> Vec<Dict> {
        let found = match self.figment.find_value(setting) {
            Ok(Value::Array(_, values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::Dict(_, table) => Some(table),
                    _ => None,
                })
                .collect(),
            // A variable or a flag that says "none".
            Ok(Value::String(_, text)) if text.is_empty() => Some(Vec::new()),
            _ => None,
        };
        found.unwrap_or_else(|| {
            self.fault(
                setting,
                "this setting takes tables",
                format!("write [[{setting}]] in the settings file, and its members below"),
            );
            Vec::new()
        })
    }

    /// Notes a fault of `setting` unless `holds`; skipped if one of `involved` has a fault already, which would
    /// make this one a mere consequence.
    pub(super) fn require(
        &mut self,
        setting: &str,
        involved: &[&str],
        holds: bool,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !holds && !self.has_fault(setting) && !involved.iter().any(|other| self.has_fault(other)) {
            self.fault(setting, problem, remedy);
        }
    }

    /// What was wrong, in the order of `names` (unknown ones first).
    pub(super) fn finish(mut self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let order: Vec<&str> = super::source::DEFAULT_FILE
            .lines()
            .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
            .collect();
        self.faults
            .sort_by_key(|fault| order.iter().position(|name| *name == fault.setting));
        Err(Faults(self.faults))
    }

    fn has_fault(&self, setting: &str) -> bool {
        self.faults.iter().any(|fault| fault.setting == setting)
    }

    pub(super) fn fault(&mut self, setting: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let origin = self
            .figment
            .find_metadata(setting)
            .map_or_else(String::new, |origin| origin.name.to_string());
        self.faults.push(Fault {
            setting: setting.to_owned(),
            origin,
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }
}

pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.trim().to_owned()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(..) => value
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| value.to_u128().map(|number| number.to_string()))
            .or_else(|| value.to_f64().map(|number| number.to_string())),
        _ => None,
    }
}

pub(super) fn items(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(_, values) => values.iter().map(scalar).collect(),
        _ => Some(
            scalar(value)?
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
        ),
    }
}
