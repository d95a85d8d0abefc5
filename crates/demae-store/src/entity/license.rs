//! `licenses`: what is sold.

use super::resource::resource_table;

resource_table! {
    "licenses",
    fixed [Slug, Version],
    name: String,
    description: String,
    #[sea_orm(column_name = "type")]
    kind: String,
    version: i64,
    version_name: Option<String>,
    is_default: bool,
    lifecycle_state: String,
}
