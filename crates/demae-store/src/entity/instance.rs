//! `instances`: an installation of the product, for a customer under a license.

use super::resource::resource_table;

resource_table! {
    "instances",
    fixed [],
    name: String,
    description: String,
    customer_id: Uuid,
    license_id: Uuid,
    deployment_zone_id: Option<Uuid>,
    start_license_date: i64,
    end_license_date: i64,
    metadata: String,
    status: String,
    lifecycle_stage: Option<String>,
    integrations: String,
}
