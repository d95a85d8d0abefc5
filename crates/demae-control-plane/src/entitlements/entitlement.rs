//! Entitlements as they are shown, and what they are made of.

use demae_event::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::{Amount, EntitlementType, User, choice::choices};

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
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entitlement {
    /// Its identity.
    pub id: Uuid,
    /// Display name.
    pub name: String,
    /// Name in URLs; never changes.
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
    /// Percent of the granted amount, 0 to 100; 0 is off.
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
    pub sale_unit_factor: Option<Amount>,
    /// Whether customers get to see it.
    pub user_facing: bool,
    /// Its place where customers see it.
    pub display_order: i32,
    /// `provider:name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Always empty: there are no groups here.
    pub entitlement_groups: [(); 0],
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: User,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: User,
}

/// What an entitlement is made of, or replaced with.
#[derive(Debug, Clone, Default)]
pub struct EntitlementInput {
    /// Display name.
    pub name: String,
    /// On creation: derived from the name if left out. Afterwards: may be given if it is the same.
    pub slug: Option<String>,
    /// What it stands for.
    pub description: Option<String>,
    /// Fixed once set.
    pub kind: Option<EntitlementType>,
    /// Fixed once set; `SUM` for `NUMBER` if left out.
    pub aggregation_method: Option<AggregationMethod>,
    /// Fixed once set.
    pub meter_type: Option<MeterType>,
    /// Fixed once set.
    pub reset_period: Option<ResetPeriod>,
    /// Fixed once set.
    pub reset_anchor: Option<ResetAnchor>,
    /// Percent, 0 to 100.
    pub warning_threshold_percent: i32,
    /// With the plural or not at all.
    pub unit_singular: Option<String>,
    /// With the singular or not at all.
    pub unit_plural: Option<String>,
    /// With the other two or not at all.
    pub sale_unit_singular: Option<String>,
    /// With the other two or not at all.
    pub sale_unit_plural: Option<String>,
    /// With the other two or not at all; more than 0.
    pub sale_unit_factor: Option<Amount>,
    /// Whether customers get to see it.
    pub user_facing: bool,
    /// From 0.
    pub display_order: i32,
    /// `provider:name`.
    pub icon: Option<String>,
    /// Whether groups were named, which is refused: there are none here.
    pub names_groups: bool,
}
