//! `customers`: a Kaiten customer.

use super::resource::resource_table;

resource_table! {
    "customers",
    fixed [Slug],
    name: String,
    external_customer_id: Option<String>,
    domain: Option<String>,
    integrations: String,
}
