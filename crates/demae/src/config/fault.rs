//! What is wrong with the settings, said once and completely.

use std::fmt;

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The setting's name, e.g. `listen`.
    pub(crate) setting: String,
    /// Where its value came from: `default`, a file, a variable or a flag.
    pub(crate) origin: String,
    /// What is wrong with it. Never holds a secret's text.
    pub(crate) problem: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// Everything that is wrong, in the order of the default file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "a setting is wrong")?,
            count => write!(f, "{count} settings are wrong")?,
        }
        for fault in &self.0 {
            write!(
                f,
                "\n\n  {} ({})\n    fault:  {}\n    remedy: {}",
                fault.setting, fault.origin, fault.problem, fault.remedy
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
