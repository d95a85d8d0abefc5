//! Entitlements as they are shown, and what they are made of.

use demae_event::Faults;
use demae_fields::{
    Input, Kind, Node, RefOrSchema, Shape as _, Shown, Whole,
    schema::{ObjectBuilder, any_object, array, bounded, sized, text},
    utoipa::openapi::{KnownFormat, SchemaFormat, schema::Type},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Amount, EntitlementType, Stamps,
    choice::choices,
    fields::{Description, NAME, Slug, Text},
};

/// Longest name of a unit, in characters.
pub const MAX_UNIT: usize = 100;

/// Longest icon, in characters.
pub const MAX_ICON: usize = 100;

choices! {
    /// How reports of usage are folded into one value.
    AggregationMethod {
        /// Their sum.
        Sum = "SUM",
        /// How many there were.
        Count = "COUNT",
        /// Their mean.
        Average = "AVERAGE",
        /// The largest.
        Max = "MAX",
        /// The smallest.
        Min = "MIN",
        /// The last one.
        Latest = "LATEST",
    }
}

choices! {
    /// What reports are about; older than the aggregation method. Kept and shown, without an effect of its own.
    MeterType {
        /// The caller calculates.
        CalculatedUsage = "CALCULATED_USAGE",
        /// The caller reports what happens; needs an aggregation method.
        RawEvent = "RAW_EVENT",
    }
}

choices! {
    /// How often usage begins anew; without one it never does.
    ResetPeriod {
        /// Every hour.
        Hour = "HOUR",
        /// Every day.
        Day = "DAY",
        /// Every week.
        Week = "WEEK",
        /// Every month.
        Month = "MONTH",
        /// Every year.
        Year = "YEAR",
    }
}

choices! {
    /// Where periods begin; the calendar if nothing is said.
    ResetAnchor {
        /// With the calendar's.
        Calendar = "CALENDAR",
        /// When the instance's license began.
        LicenseStart = "LICENSE_START",
    }
}

/// An entitlement.
#[derive(Debug, Clone, PartialEq, Serialize, Shown)]
#[serde(rename_all = "camelCase")]
pub struct Entitlement {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    #[shown(example = "Seats")]
    pub name: String,
    /// Name in URLs; never changes.
    #[shown(example = "seats")]
    pub slug: String,
    /// What it stands for.
    pub description: Option<String>,
    /// What kind of thing it is; without one it takes any value.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntitlementType>,
    /// How usage adds up; always there for `NUMBER`, and only there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregation_method: Option<AggregationMethod>,
    /// As the caller gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter_type: Option<MeterType>,
    /// How often usage begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_period: Option<ResetPeriod>,
    /// Where periods begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_anchor: Option<ResetAnchor>,
    /// Percent of the granted amount; 0 is off.
    #[shown(schema = bounded(i32::shape(), 0, 100))]
    pub warning_threshold_percent: i32,
    /// Name of one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_singular: Option<String>,
    /// Name of several units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_plural: Option<String>,
    /// Name of one unit as it is sold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sale_unit_singular: Option<String>,
    /// Name of several units as they are sold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sale_unit_plural: Option<String>,
    /// How many units one sold unit is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[shown(described_as = f64)]
    pub sale_unit_factor: Option<Amount>,
    /// Whether customers get to see it.
    pub user_facing: bool,
    /// Its place where customers see it.
    #[shown(schema = place())]
    pub display_order: i32,
    /// `provider:name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Always empty: there are no groups here.
    #[shown(schema = sized(array(any_object()), 0..=0))]
    pub entitlement_groups: [(); 0],
    /// Who created it, and who changed it last, and when.
    #[serde(flatten)]
    pub stamps: Stamps,
}

/// A place in a list.
fn place() -> RefOrSchema {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int32);
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(format))
        .minimum(Some(0))
        .into()
}

/// What an entitlement is made of, or replaced with. In a replacement, `type`, `aggregationMethod`, `meterType`,
/// `resetPeriod` and `resetAnchor` stay if they are left out, and are refused if they differ from what is set; what else is
/// left out is cleared, but for the slug, which never changes.
#[derive(Debug, Clone, Default, Input)]
#[input(example = json!({"name": "Seats", "description": "People who may sign in.", "type": "NUMBER"}))]
pub struct EntitlementInput {
    /// Display name.
    #[input(kind = NAME)]
    pub name: String,
    /// Name in URLs; derived from the name if left out. In a replacement: the same, if given.
    #[input(kind = Slug)]
    pub slug: Option<String>,
    /// What it stands for.
    #[input(kind = Description)]
    pub description: Option<String>,
    /// What kind of thing it is; without one it takes any value.
    #[input(rename = "type")]
    pub kind: Option<EntitlementType>,
    /// How usage adds up; only for NUMBER, for which it is SUM if left out.
    pub aggregation_method: Option<AggregationMethod>,
    /// Only for NUMBER; the older way to say what reports are about. `RAW_EVENT` needs an aggregation method.
    pub meter_type: Option<MeterType>,
    /// How often usage begins anew; only for NUMBER.
    pub reset_period: Option<ResetPeriod>,
    /// Where periods begin; only for NUMBER.
    pub reset_anchor: Option<ResetAnchor>,
    /// Percent of the granted amount; 0, which is the default, is off.
    #[input(kind = Whole(0..=100), default)]
    pub warning_threshold_percent: i32,
    /// Name of one unit; only for NUMBER, and only with the plural.
    #[input(kind = Text(MAX_UNIT))]
    pub unit_singular: Option<String>,
    /// Name of several units; only for NUMBER, and only with the singular.
    #[input(kind = Text(MAX_UNIT))]
    pub unit_plural: Option<String>,
    /// Name of one unit as it is sold; only with the plural, the factor and both names of units.
    #[input(kind = Text(MAX_UNIT))]
    pub sale_unit_singular: Option<String>,
    /// Name of several units as they are sold; only with the singular and the factor.
    #[input(kind = Text(MAX_UNIT))]
    pub sale_unit_plural: Option<String>,
    /// How many units one sold unit is; only with the names of sold units.
    #[input(kind = Factor)]
    pub sale_unit_factor: Option<Amount>,
    /// Whether customers get to see it.
    #[input(default)]
    pub user_facing: bool,
    /// Its place where customers see it.
    #[input(kind = Whole(0..=i32::MAX), default)]
    pub display_order: i32,
    /// `provider:name`.
    #[input(kind = Icon)]
    pub icon: Option<String>,
    /// Must be empty: there are no groups here.
    #[input(kind = NoGroups)]
    pub group_slugs: Option<Vec<String>>,
}

/// More than nothing.
struct Factor;

impl Kind<Amount> for Factor {
    fn read(&self, node: Node<'_>) -> Option<Amount> {
        node.number_with(|number| match Amount::from_number(number) {
            Ok(factor) if factor > Amount::ZERO => Ok(factor),
            Ok(_) => Err("must be more than 0".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    fn schema(&self) -> RefOrSchema {
        ObjectBuilder::new()
            .schema_type(Type::Number)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
            .maximum(Some(1_000_000_000_000_000_i64))
            .exclusive_minimum(Some(0))
            .into()
    }

    fn check(&self, value: &Amount, at: &str, faults: &mut Faults) {
        if *value <= Amount::ZERO {
            faults.push(at, "must be more than 0");
        }
    }
}

/// `provider:name` (kaiten.md, section 2.5), such as `lucide:users`.
struct Icon;

impl Kind<String> for Icon {
    fn read(&self, node: Node<'_>) -> Option<String> {
        Text(MAX_ICON).read(node)
    }

    fn schema(&self) -> RefOrSchema {
        text(None, Some(MAX_ICON), Some("^[!-9;-~]+:[!-~]+$"))
    }

    fn check(&self, value: &String, at: &str, faults: &mut Faults) {
        let visible = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        let parts = value.split_once(':');
        let fits = parts.is_some_and(|(provider, name)| visible(provider) && visible(name));
        if value.len() > MAX_ICON || !fits {
            let message = format!("must be provider:name without spaces, at most {MAX_ICON} characters");
            faults.push(at, message);
        }
    }
}

/// Names of groups, of which there are none: how many there may be is the domain's to refuse.
struct NoGroups;

impl Kind<Vec<String>> for NoGroups {
    fn read(&self, node: Node<'_>) -> Option<Vec<String>> {
        node.array(0..=1_000, |node| node.string(0..=255))
    }

    fn schema(&self) -> RefOrSchema {
        sized(array(String::shape()), 0..=0)
    }

    fn check(&self, value: &Vec<String>, at: &str, faults: &mut Faults) {
        if !value.is_empty() {
            faults.push(at, "must be empty: there are no entitlement groups here");
        }
    }
}
