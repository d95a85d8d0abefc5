//! `entitlements`: something that a license can grant.

use super::resource::resource_table;

resource_table! {
    "entitlements",
    fixed [Slug],
    name: String,
    description: Option<String>,
    #[sea_orm(column_name = "type")]
    kind: Option<String>,
    aggregation_method: Option<String>,
    meter_type: Option<String>,
    reset_period: Option<String>,
    reset_anchor: Option<String>,
    warning_threshold_percent: i32,
    unit_singular: Option<String>,
    unit_plural: Option<String>,
    sale_unit_singular: Option<String>,
    sale_unit_plural: Option<String>,
    sale_unit_factor: Option<String>,
    user_facing: bool,
    display_order: i32,
    icon: Option<String>,
}
