//! `license_entitlements`: what a license grants of an entitlement.

use super::resource::link_table;

link_table! {
    "license_entitlements",
    fixed [LicenseId, EntitlementId],
    license_id: Uuid,
    entitlement_id: Uuid,
    value: String,
    limit_cap_exceeded_overage_percent: Option<i32>,
}
