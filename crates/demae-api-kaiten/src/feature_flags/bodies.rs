//! What a feature flag looks like on the wire. What is nested in one is shown as the domain's own types write it; the
//! types here describe it in the document.

use std::collections::BTreeMap;

use demae_control_plane::feature_flags::{DefaultVariant, FeatureFlag, FlagType, Targeting, Variant};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// A feature flag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeatureFlag)]
pub(crate) struct FeatureFlagBody {
    /// Its identity.
    id: Uuid,
    /// Display name.
    #[schema(examples("New checkout"))]
    name: String,
    /// Name in URLs and key of evaluation; never changes.
    #[schema(examples("new-checkout"))]
    slug: String,
    /// What it is for.
    #[schema(required = true)]
    description: Option<String>,
    /// Type of its values; never changes.
    #[serde(rename = "type")]
    #[schema(value_type = FlagTypeBody)]
    kind: FlagType,
    /// When off, everyone gets the default variant.
    enabled: bool,
    /// The application's name for what happens when it is evaluated; may be empty.
    event_name: String,
    /// The application's own data.
    metadata: Map<String, Value>,
    /// What it can be.
    #[schema(value_type = Vec<VariantBody>)]
    variants: Vec<Variant>,
    /// What is served when no targeting matches.
    #[schema(value_type = DefaultVariantBody)]
    default_variant: DefaultVariant,
    /// Who is served something else; the first that matches counts.
    #[schema(value_type = Option<Vec<TargetingBody>>, required = true)]
    targetings: Option<Vec<Targeting>>,
}

impl From<FeatureFlag> for FeatureFlagBody {
    fn from(flag: FeatureFlag) -> Self {
        Self {
            id: flag.id,
            name: flag.name,
            slug: flag.slug,
            description: flag.description,
            kind: flag.kind,
            enabled: flag.enabled,
            event_name: flag.event_name,
            metadata: flag.metadata,
            variants: flag.variants,
            default_variant: flag.default_variant,
            targetings: flag.targetings,
        }
    }
}

/// Type of a flag's values.
#[derive(Debug, ToSchema)]
#[schema(as = FeatureFlagType, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what is read and shown by name")]
pub(crate) enum FlagTypeBody {
    Boolean,
    String,
    Number,
    Object,
}

/// A value by name.
#[derive(Debug, ToSchema)]
#[schema(as = Variant)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct VariantBody {
    /// Unique in its flag.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// May be empty.
    #[schema(max_length = 500)]
    description: String,
    /// Of the flag's type.
    value: Value,
}

/// What is served when no targeting matches.
#[derive(Debug, ToSchema)]
#[schema(as = DefaultVariant)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) enum DefaultVariantBody {
    Basic(BasicDefault),
    RolloutPercentage(PercentageDefault),
    RolloutDate(DateDefault),
}

/// The same variant for everyone.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct BasicDefault {
    #[schema(inline)]
    r#type: Basic,
    /// Name of a variant.
    value: String,
}

/// Shares.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct PercentageDefault {
    #[schema(inline)]
    r#type: RolloutPercentage,
    /// Whole percentages by name of variant, which add up to 100.
    #[schema(example = json!({"on": 25, "off": 75}))]
    distribution: BTreeMap<String, u8>,
}

/// Shares that change evenly between two dates.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct DateDefault {
    #[schema(inline)]
    r#type: RolloutDate,
    /// How it is until its date.
    start: StageBody,
    /// How it is from its date on.
    end: StageBody,
}

/// Who is served what.
#[derive(Debug, ToSchema)]
#[schema(as = Targeting)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) enum TargetingBody {
    Basic(BasicTargeting),
    RolloutPercentage(PercentageTargeting),
    RolloutDate(DateTargeting),
}

/// The same variant for everyone for whom the rule holds.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct BasicTargeting {
    #[schema(inline)]
    r#type: Basic,
    /// How it is called.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// CEL expression over the evaluation context.
    #[schema(max_length = 2000, examples("plan == 'pro'"))]
    rule: String,
    /// Name of a variant.
    variant: String,
}

/// Shares among those for whom the rule holds.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct PercentageTargeting {
    #[schema(inline)]
    r#type: RolloutPercentage,
    /// How it is called.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// CEL expression over the evaluation context.
    #[schema(max_length = 2000, examples("plan == 'pro'"))]
    rule: String,
    /// Whole percentages by name of variant, which add up to 100.
    #[schema(example = json!({"on": 25, "off": 75}))]
    distribution: BTreeMap<String, u8>,
}

/// Shares among those for whom the rule holds, which change evenly between two dates.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct DateTargeting {
    #[schema(inline)]
    r#type: RolloutDate,
    /// How it is called.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// CEL expression over the evaluation context.
    #[schema(max_length = 2000, examples("plan == 'pro'"))]
    rule: String,
    /// How it is until its date.
    start: StageBody,
    /// How it is from its date on.
    end: StageBody,
}

/// One end of a gradual rollout.
#[derive(Debug, ToSchema)]
#[schema(as = RolloutStage)]
#[expect(dead_code, reason = "describes the domain's own type")]
pub(crate) struct StageBody {
    /// Name of a variant. If it is the same at both ends, the flag has exactly two, and the other one has the rest.
    variant: String,
    /// How many have it at that time; the rest have the other end's. Both together are more than 100, unless the variant
    /// is the same.
    #[schema(minimum = 0, maximum = 100)]
    percentage: u8,
    /// When.
    #[schema(format = DateTime)]
    date: String,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a constant")]
pub(crate) enum Basic {
    Basic,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a constant")]
pub(crate) enum RolloutPercentage {
    RolloutPercentage,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a constant")]
pub(crate) enum RolloutDate {
    RolloutDate,
}

/// A new feature flag.
#[derive(Debug, ToSchema)]
#[schema(as = CreateFeatureFlag, example = json!({
    "name": "New checkout", "type": "boolean", "enabled": true, "description": null, "event_name": "", "metadata": {},
    "variants": [{"name": "on", "description": "", "value": true}, {"name": "off", "description": "", "value": false}],
    "default_variant": {"type": "basic", "value": "off"},
    "targetings": [{"type": "basic", "name": "enterprise", "rule": "plan == 'enterprise'", "variant": "on"}]
}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(crate) struct CreateFeatureFlagBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// Name in URLs and key of evaluation; derived from the name if left out.
    #[schema(min_length = 2, max_length = 100, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// What it is for.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Type of its values.
    #[schema(value_type = FlagTypeBody)]
    r#type: String,
    /// Whether targetings apply.
    enabled: bool,
    /// The application's name for what happens when it is evaluated.
    #[schema(max_length = 255)]
    event_name: Option<String>,
    /// The application's own data; at most 16,384 bytes as JSON.
    metadata: Option<Map<String, Value>>,
    /// What it can be, by unique names.
    #[schema(min_items = 1, max_items = 50)]
    variants: Vec<VariantBody>,
    /// What is served when no targeting matches.
    default_variant: DefaultVariantBody,
    /// Who is served something else; the first that matches counts.
    #[schema(max_items = 50)]
    targetings: Option<Vec<TargetingBody>>,
}

/// What a feature flag is replaced with: what is left out is cleared, but for the slug.
#[derive(Debug, ToSchema)]
#[schema(as = ReplaceFeatureFlag, example = json!({
    "name": "New checkout", "type": "boolean", "enabled": false, "description": null, "event_name": "", "metadata": {},
    "variants": [{"name": "on", "description": "", "value": true}, {"name": "off", "description": "", "value": false}],
    "default_variant": {"type": "basic", "value": "off"}, "targetings": null
}))]
#[expect(dead_code, reason = "describes the body; the domain's own type is read")]
pub(crate) struct ReplaceFeatureFlagBody {
    /// Display name.
    #[schema(min_length = 1, max_length = 255, pattern = r"\S")]
    name: String,
    /// May be given if it is the same; another one is refused.
    slug: Option<String>,
    /// What it is for.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// Must be the same.
    #[schema(value_type = FlagTypeBody)]
    r#type: String,
    /// Whether targetings apply.
    enabled: bool,
    /// The application's name for what happens when it is evaluated.
    #[schema(max_length = 255)]
    event_name: Option<String>,
    /// The application's own data; at most 16,384 bytes as JSON.
    metadata: Option<Map<String, Value>>,
    /// What it can be, by unique names.
    #[schema(min_items = 1, max_items = 50)]
    variants: Vec<VariantBody>,
    /// What is served when no targeting matches.
    default_variant: DefaultVariantBody,
    /// Who is served something else; the first that matches counts.
    #[schema(max_items = 50)]
    targetings: Option<Vec<TargetingBody>>,
}
