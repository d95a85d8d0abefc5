//! `deployment_zones`: a place where instances run.

use super::resource::resource_table;

resource_table! {
    "deployment_zones",
    fixed [Slug],
    name: String,
    #[sea_orm(column_name = "type")]
    kind: String,
    description: String,
    metadata: String,
    release_id: Option<Uuid>,
}
