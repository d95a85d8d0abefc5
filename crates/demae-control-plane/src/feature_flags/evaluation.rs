//! What somebody is served: a pure function of a flag, who asks, and the time.
//!
//! 1. A flag that is off serves its default variant (reason `DISABLED`).
//! 2. Otherwise the first targeting whose rule holds decides: `TARGETING_MATCH`, or `SPLIT` if it is a rollout. A rule
//!    that cannot be evaluated, say because it asks for an attribute that the context lacks, does not hold; which it was
//!    and why is told in the metadata.
//! 3. Otherwise the default variant: `STATIC` if the flag has no targetings, `DEFAULT` if none matched, and `SPLIT` if
//!    it is a rollout.
//!
//! # Rollouts
//!
//! Everyone has a place in each flag, between 0 and 1: [`place`]. It depends on the flag's key and the targeting key and
//! on nothing else, so anyone can compute it, it is the same everywhere and always, and places in different flags have
//! nothing to do with each other.
//!
//! - `rollout_percentage`: the variants, sorted by name, divide the range in proportion to their percentages. If one
//!   variant's percentage grows at the cost of others, whoever had it keeps it.
//! - `rollout_date`: at the date of each end, so many percent have that end's variant and the rest the other end's; in
//!   between the shares change evenly, and before and after they stay. If both ends name the same variant, the rest have
//!   the flag's other one. Whoever's place is below the share of the end's variant has that one. Whoever has it keeps it as
//!   long as that share grows.
//!
//! Without a targeting key only what does not depend on it can be told: a rollout in which one variant has everything.

use demae_event::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    model::{Dates, FeatureFlag, Percentages, Serving},
    rule::{Attributes, Rule},
};

/// Name of the attribute that says who asks (`OpenFeature` specification, section 3.1.1).
pub const TARGETING_KEY: &str = "targetingKey";

/// Longest account of rules that failed, in characters.
const MAX_FAILURES: usize = 1_000;

/// A flag whose rules can be evaluated.
#[derive(Debug)]
pub struct CompiledFlag {
    flag: FeatureFlag,
    /// As many as targetings; none where a rule was written under other bounds than today's.
    rules: Vec<Option<Rule>>,
}

impl CompiledFlag {
    /// Compiles the rules.
    pub fn new(flag: FeatureFlag) -> Self {
        let targetings = flag.targetings.iter().flatten();
        let rules = targetings
            .map(|targeting| Rule::compile(&targeting.rule).ok())
            .collect();
        Self { flag, rules }
    }

    /// The flag.
    pub fn flag(&self) -> &FeatureFlag {
        &self.flag
    }
}

/// Who asks.
#[derive(Debug)]
pub struct Subject {
    key: Option<String>,
    attributes: Attributes,
}

impl Subject {
    /// From an evaluation context. An empty targeting key is none.
    pub fn new(context: &Map<String, Value>) -> Self {
        let key = context.get(TARGETING_KEY).and_then(Value::as_str);
        Self {
            key: key.filter(|key| !key.is_empty()).map(str::to_owned),
            attributes: Attributes::new(context),
        }
    }
}

/// Why somebody is served what (`OpenFeature` specification, section 2.2.5 and "resolution reason").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The flag has nothing but a default.
    Static,
    /// No targeting matched.
    Default,
    /// A targeting matched.
    TargetingMatch,
    /// A rollout decided.
    Split,
    /// The flag is off.
    Disabled,
}

impl Reason {
    /// As on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
        }
    }
}

/// What somebody is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Name of the variant.
    pub variant: String,
    /// Its value.
    pub value: Value,
    /// Why.
    pub reason: Reason,
    /// What of the flag's metadata is a text, a number or a boolean; `targeting`, the one that matched; and
    /// `failedTargetings`, those that could not be evaluated.
    pub metadata: Map<String, Value>,
}

/// Why it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// A rollout needs to know who asks.
    #[error("the context has no targetingKey, and a rollout needs one")]
    TargetingKeyMissing,
    /// The flag names a variant that it does not have.
    #[error("the flag has no variant {0:?}")]
    NoVariant(String),
}

/// See the module's documentation.
pub fn evaluate(
    flag: &CompiledFlag,
    subject: &Subject,
    now: Timestamp,
) -> Result<Evaluation, EvaluationError> {
    let CompiledFlag { flag, rules } = flag;
    let mut metadata = scalars(&flag.metadata);
    let matched = if flag.enabled {
        first_match(flag, rules, subject, &mut metadata)
    } else {
        None
    };
    let (serving, plain) = match matched {
        Some(serving) => (serving, Reason::TargetingMatch),
        None => (flag.default_variant.serving(), default_reason(flag)),
    };
    let (variant, reason) = match serving {
        Serving::One(variant) => (variant, plain),
        _ if !flag.enabled => (choose(serving, flag, subject, now)?, Reason::Disabled),
        _ => (choose(serving, flag, subject, now)?, Reason::Split),
    };
    let found = flag.variants.iter().find(|candidate| candidate.name == variant);
    let found = found.ok_or_else(|| EvaluationError::NoVariant(variant.to_owned()))?;
    Ok(Evaluation {
        variant: found.name.clone(),
        value: found.value.clone(),
        reason,
        metadata,
    })
}

fn default_reason(flag: &FeatureFlag) -> Reason {
    if !flag.enabled {
        Reason::Disabled
    } else if flag.targetings.iter().flatten().next().is_none() {
        Reason::Static
    } else {
        Reason::Default
    }
}

fn first_match<'f>(
    flag: &'f FeatureFlag,
    rules: &[Option<Rule>],
    subject: &Subject,
    metadata: &mut Map<String, Value>,
) -> Option<Serving<'f>> {
    let mut failures = Vec::new();
    let mut matched = None;
    for (targeting, rule) in flag.targetings.iter().flatten().zip(rules) {
        let holds = match rule {
            Some(rule) => rule.matches(&subject.attributes),
            None => Err("it is no rule any more".to_owned()),
        };
        match holds {
            Ok(true) => {
                metadata.insert("targeting".to_owned(), targeting.name.as_str().into());
                matched = Some(targeting.serves.serving());
                break;
            }
            Ok(false) => {}
            Err(reason) => failures.push(format!("{}: {reason}", targeting.name)),
        }
    }
    if !failures.is_empty() {
        let account: String = failures.join("; ").chars().take(MAX_FAILURES).collect();
        metadata.insert("failedTargetings".to_owned(), account.into());
    }
    matched
}

/// Metadata of an evaluation is flat (`OpenFeature` specification, section 1.4.14).
fn scalars(metadata: &Map<String, Value>) -> Map<String, Value> {
    let flat = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let entries = metadata.iter().filter(|(_, value)| flat(value));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn choose<'f>(
    serving: Serving<'f>,
    flag: &'f FeatureFlag,
    subject: &Subject,
    now: Timestamp,
) -> Result<&'f str, EvaluationError> {
    match serving {
        Serving::One(variant) => Ok(variant),
        Serving::Shares(shares) => {
            if let Some((variant, _)) = shares.distribution.iter().find(|(_, share)| **share == 100) {
                return Ok(variant);
            }
            Ok(variant_at(shares, place_of(flag, subject)?))
        }
        Serving::Growing(dates) => {
            let share = share_at(dates, now);
            let below = match share {
                0 => false,
                WHOLE => true,
                _ => place_of(flag, subject)? < share,
            };
            Ok(if below {
                &dates.end.variant
            } else {
                rest_of(dates, flag)
            })
        }
    }
}

fn place_of(flag: &FeatureFlag, subject: &Subject) -> Result<u128, EvaluationError> {
    let key = subject.key.as_deref();
    let key = key.ok_or(EvaluationError::TargetingKeyMissing)?;
    Ok(place(&flag.slug, key).into())
}

/// The whole range of places.
const WHOLE: u128 = 1 << 64;

/// Where somebody is in a flag, in 2^-64ths of the range: the first eight bytes, most significant first, of the SHA-256
/// of flag key, colon, targeting key, in UTF-8. A flag's key has no colon.
pub fn place(flag_key: &str, targeting_key: &str) -> u64 {
    let digest = Sha256::digest(format!("{flag_key}:{targeting_key}"));
    digest[..8]
        .iter()
        .fold(0, |place, byte| (place << 8) | u64::from(*byte))
}

/// The variant whose part of the range holds `place`. Percentages add up to 100.
fn variant_at(shares: &Percentages, place: u128) -> &str {
    let mut end: u128 = 0;
    let mut last = "";
    for (variant, share) in shares.distribution.iter().filter(|(_, share)| **share > 0) {
        end += u128::from(*share);
        last = variant;
        // place / WHOLE < end / 100
        if place * 100 < end * WHOLE {
            break;
        }
    }
    last
}

/// What those have who do not have the end's variant.
fn rest_of<'f>(Dates { start, end }: &'f Dates, flag: &'f FeatureFlag) -> &'f str {
    if start.variant != end.variant {
        return &start.variant;
    }
    let other = flag.variants.iter().find(|variant| variant.name != end.variant);
    other.map_or(&end.variant, |variant| &variant.name)
}

/// How much of the range has the end's variant.
fn share_at(Dates { start, end }: &Dates, now: Timestamp) -> u128 {
    let part = |percentage: u8| u128::from(percentage) * WHOLE / 100;
    let last = part(end.percentage);
    let first = if start.variant == end.variant {
        part(start.percentage)
    } else {
        WHOLE - part(start.percentage)
    };
    if now >= end.date {
        return last;
    }
    if now <= start.date {
        return first;
    }
    // Microseconds, below 2^64; that times a share, at most 2^64, is below 2^128. The dates differ, as now is between them.
    let micros = |from: Timestamp, to: Timestamp| u128::from(from.as_micros().abs_diff(to.as_micros()));
    let (elapsed, length) = (micros(start.date, now), micros(start.date, end.date));
    if last >= first {
        first + (last - first) * elapsed / length
    } else {
        first - (first - last) * elapsed / length
    }
}

#[cfg(test)]
mod tests;
