//! Reading the body of a feature flag.

use demae_api::json::fields::{Fields, Node, ReadBody};
use demae_control_plane::feature_flags::{
    Dates, DefaultVariant, FlagInput, FlagType, MAX_EVENT_NAME, MAX_RULE, MAX_TARGETINGS, MAX_VARIANTS,
    Percentages, Stage, TargetedVariant, Targeting, Variant,
};
use demae_control_plane::fields::{Description, MAX_NAME, NAME, Slug};

use demae_fields::Kind as _;

use crate::input::Kaiten;

const KINDS: [&str; 3] = ["basic", "rollout_percentage", "rollout_date"];

/// What a flag is replaced with.
pub(super) struct Replacement(pub(super) FlagInput);

impl ReadBody<Kaiten> for FlagInput {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        read_flag(fields, |node| Slug.read(node))
    }
}

impl ReadBody<Kaiten> for Replacement {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        // Whether it is the flag's is the domain's to say.
        read_flag(fields, |node| node.string(0..=255)).map(Self)
    }
}

fn read_flag(fields: &mut Fields<'_>, slug: impl FnOnce(Node<'_>) -> Option<String>) -> Option<FlagInput> {
    let name = fields.field("name").required(|node| NAME.read(node));
    let slug = fields.field("slug").nullable(slug);
    let description = fields
        .field("description")
        .nullable(|node| Description.read(node));
    let kind = fields
        .field("type")
        .required(|node| FlagType::from_name(&node.one_of(&FlagType::NAMES)?));
    let enabled = fields.field("enabled").required(Node::boolean);
    let event_name = fields
        .field("event_name")
        .nullable(|node| node.string(0..=MAX_EVENT_NAME));
    let metadata = fields.field("metadata").nullable(Node::any_object);
    let variants = fields
        .field("variants")
        .required(|node| node.array(1..=MAX_VARIANTS, |node| node.object(read_variant)));
    let default_variant = fields
        .field("default_variant")
        .required(|node| node.object(read_default));
    let targetings = fields
        .field("targetings")
        .nullable(|node| node.array(0..=MAX_TARGETINGS, |node| node.object(read_targeting)));
    Some(FlagInput {
        name: name?,
        slug: slug?,
        description: description?,
        kind: kind?,
        enabled: enabled?,
        event_name: event_name?.unwrap_or_default(),
        metadata: metadata?.unwrap_or_default(),
        variants: variants?,
        default_variant: default_variant?,
        targetings: targetings?,
    })
}

fn read_variant(fields: &mut Fields<'_>) -> Option<Variant> {
    let name = fields.field("name").required(|node| NAME.read(node));
    let description = fields
        .field("description")
        .nullable(|node| Description.read(node));
    let value = fields.field("value").required(|node| Some(node.any()));
    Some(Variant {
        name: name?,
        description: description?.unwrap_or_default(),
        value: value?,
    })
}

fn read_default(fields: &mut Fields<'_>) -> Option<DefaultVariant> {
    match read_serving(fields, "value")? {
        Serving::One(value) => Some(DefaultVariant::Basic { value }),
        Serving::Shares(shares) => Some(DefaultVariant::RolloutPercentage(shares)),
        Serving::Growing(dates) => Some(DefaultVariant::RolloutDate(dates)),
    }
}

fn read_targeting(fields: &mut Fields<'_>) -> Option<Targeting> {
    let name = fields.field("name").required(|node| NAME.read(node));
    let rule = fields.field("rule").required(|node| node.string(0..=MAX_RULE));
    let serves = match read_serving(fields, "variant") {
        None => None,
        Some(Serving::One(variant)) => Some(TargetedVariant::Basic { variant }),
        Some(Serving::Shares(shares)) => Some(TargetedVariant::RolloutPercentage(shares)),
        Some(Serving::Growing(dates)) => Some(TargetedVariant::RolloutDate(dates)),
    };
    Some(Targeting {
        name: name?,
        rule: rule?,
        serves: serves?,
    })
}

enum Serving {
    One(String),
    Shares(Percentages),
    Growing(Dates),
}

/// What is served; one variant for all stands under `key`.
fn read_serving(fields: &mut Fields<'_>, key: &'static str) -> Option<Serving> {
    let Some(kind) = fields.field("type").required(|node| node.one_of(&KINDS)) else {
        // Any of them may be right: one fault is enough.
        for key in [key, "distribution", "start", "end"] {
            let _ = fields.field(key);
        }
        return None;
    };
    match kind.as_str() {
        "basic" => {
            let variant = fields.field(key).required(|node| node.string(0..=MAX_NAME));
            variant.map(Serving::One)
        }
        "rollout_percentage" => {
            let distribution = fields
                .field("distribution")
                .required(|node| node.entries(MAX_VARIANTS, read_percentage));
            distribution.map(|distribution| Serving::Shares(Percentages { distribution }))
        }
        _ => {
            let start = fields.field("start").required(|node| node.object(read_stage));
            let end = fields.field("end").required(|node| node.object(read_stage));
            Some(Serving::Growing(Dates {
                start: start?,
                end: end?,
            }))
        }
    }
}

fn read_stage(fields: &mut Fields<'_>) -> Option<Stage> {
    let variant = fields.field("variant").required(|node| node.string(0..=MAX_NAME));
    let percentage = fields.field("percentage").required(read_percentage);
    let date = fields.field("date").required(Node::timestamp);
    Some(Stage {
        variant: variant?,
        percentage: percentage?,
        date: date?,
    })
}

fn read_percentage(node: Node<'_>) -> Option<u8> {
    node.integer(0..=100).map(|share| share as u8)
}
