//! `components`: a part of the product, at a version.

use super::resource::resource_table;

resource_table! {
    "components",
    fixed [PreviousComponentId, Slug],
    name: String,
    version: String,
    description: Option<String>,
    previous_component_id: Option<Uuid>,
}
