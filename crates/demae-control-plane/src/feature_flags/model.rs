//! What a feature flag is made of (kaiten.md, section 2.7). Keys are as the reference has them: `default_variant` and
//! `event_name` in snake case.

use std::collections::BTreeMap;

use demae_event::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A switch or value that the product asks for while it runs. It shows no timestamps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureFlag {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Name in URLs and key of evaluation; never changes.
    pub slug: String,
    /// What it is for.
    pub description: Option<String>,
    /// Type of its values; never changes.
    #[serde(rename = "type")]
    pub kind: FlagType,
    /// When off, nobody is targeted.
    pub enabled: bool,
    /// The application's name for what happens when it is evaluated; may be empty.
    pub event_name: String,
    /// The application's own data.
    pub metadata: Map<String, Value>,
    /// What it can be.
    pub variants: Vec<Variant>,
    /// What is served when no targeting matches.
    pub default_variant: DefaultVariant,
    /// Who is served something else; the first that matches counts.
    pub targetings: Option<Vec<Targeting>>,
}

/// Type of a flag's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagType {
    /// `true` and `false`.
    Boolean,
    /// Texts.
    String,
    /// Numbers.
    Number,
    /// JSON objects.
    Object,
}

impl FlagType {
    /// Every type, by name.
    pub const NAMES: [&str; 4] = ["boolean", "string", "number", "object"];

    /// As on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Number => "number",
            Self::Object => "object",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Boolean, Self::String, Self::Number, Self::Object]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Whether a value is of this type.
    pub const fn admits(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Boolean, Value::Bool(_))
                | (Self::String, Value::String(_))
                | (Self::Number, Value::Number(_))
                | (Self::Object, Value::Object(_))
        )
    }
}

/// A value by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Unique in its flag.
    pub name: String,
    /// May be empty.
    pub description: String,
    /// Of the flag's type.
    pub value: Value,
}

/// What is served when no targeting matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DefaultVariant {
    /// The same for everyone.
    Basic {
        /// Name of a variant.
        value: String,
    },
    /// Shares.
    RolloutPercentage(Percentages),
    /// A share that changes over time.
    RolloutDate(Dates),
}

/// Who is served what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targeting {
    /// How it is called.
    pub name: String,
    /// CEL expression over the evaluation context.
    pub rule: String,
    /// What those for whom the rule holds are served.
    #[serde(flatten)]
    pub serves: TargetedVariant,
}

/// What those for whom a rule holds are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TargetedVariant {
    /// The same for everyone.
    Basic {
        /// Name of a variant.
        variant: String,
    },
    /// Shares.
    RolloutPercentage(Percentages),
    /// A share that changes over time.
    RolloutDate(Dates),
}

/// Percentages by name of variant; their sum is 100.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentages {
    /// 0 to 100 each.
    pub distribution: BTreeMap<String, u8>,
}

/// A share that changes evenly between two dates. If both ends name the same variant, the flag has exactly two, and the
/// other one has the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dates {
    /// From what, when.
    pub start: Stage,
    /// To what, when.
    pub end: Stage,
}

/// One end of a gradual rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Name of a variant.
    pub variant: String,
    /// How many have it at that time: 0 to 100. The rest have the other end's variant.
    pub percentage: u8,
    /// When.
    pub date: Timestamp,
}

/// What is served, wherever it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Serving<'f> {
    One(&'f str),
    Shares(&'f Percentages),
    Growing(&'f Dates),
}

impl DefaultVariant {
    pub(super) fn serving(&self) -> Serving<'_> {
        match self {
            Self::Basic { value } => Serving::One(value),
            Self::RolloutPercentage(shares) => Serving::Shares(shares),
            Self::RolloutDate(dates) => Serving::Growing(dates),
        }
    }
}

impl TargetedVariant {
    pub(super) fn serving(&self) -> Serving<'_> {
        match self {
            Self::Basic { variant } => Serving::One(variant),
            Self::RolloutPercentage(shares) => Serving::Shares(shares),
            Self::RolloutDate(dates) => Serving::Growing(dates),
        }
    }
}

/// What a flag is created from, or replaced with: what is left out is cleared.
#[derive(Debug, Clone)]
pub struct FlagInput {
    /// Display name.
    pub name: String,
    /// On creation, derived from the name if left out; of a replacement, must be the same if given.
    pub slug: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Type of its values; of a replacement, must be the same.
    pub kind: FlagType,
    /// Whether targetings apply.
    pub enabled: bool,
    /// May be empty.
    pub event_name: String,
    /// The application's own data.
    pub metadata: Map<String, Value>,
    /// What it can be.
    pub variants: Vec<Variant>,
    /// What is served when no targeting matches.
    pub default_variant: DefaultVariant,
    /// Who is served something else.
    pub targetings: Option<Vec<Targeting>>,
}
