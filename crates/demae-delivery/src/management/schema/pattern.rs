//! Compiles the patterns of a schema with an engine whose time is linear in the text.

use std::collections::HashSet;

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 512;
/// Different patterns in a schema.
pub const MAX_PATTERNS: usize = 100;
/// Largest compiled pattern, in bytes.
pub const MAX_PATTERN_SIZE: usize = 64 * 1024;
/// Cache of the engine while it matches, in bytes.
pub(super) const MAX_DFA_SIZE: usize = 256 * 1024;

/// The patterns of a schema that are found right.
#[derive(Debug, Default)]
pub(super) struct Patterns<'s>(HashSet<&'s str>);

impl<'s> Patterns<'s> {
    /// Checks a pattern; an error is the reason why it is refused.
    pub(super) fn check(&mut self, pattern: &'s str) -> Result<(), String> {
        if self.0.contains(pattern) {
            return Ok(());
        }
        if self.0.len() == MAX_PATTERNS {
            return Err(format!(
                "must not be another pattern: a schema has at most {MAX_PATTERNS}"
            ));
        }
        if pattern.len() > MAX_PATTERN {
            return Err(format!("must not be longer than {MAX_PATTERN} bytes"));
        }
        compile(pattern)?;
        self.0.insert(pattern);
        Ok(())
    }
}

/// As the library does it. Look-around and back-references do not exist in this engine.
fn compile(pattern: &str) -> Result<(), String> {
    let refused = || "is not a regular expression without look-around and back-references".to_owned();
    let translated = jsonschema_regex::to_rust_regex(pattern).map_err(|()| refused())?;
    let compiled = regex::RegexBuilder::new(&translated)
        .size_limit(MAX_PATTERN_SIZE)
        .dfa_size_limit(MAX_DFA_SIZE)
        .build();
    match compiled {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!(
            "must not be larger than {MAX_PATTERN_SIZE} bytes once it is compiled"
        )),
        Err(_) => Err(refused()),
    }
}
