//! `feature_flags`: a feature flag.

use super::resource::resource_table;

resource_table! {
    "feature_flags",
    fixed [Slug, Kind],
    name: String,
    description: Option<String>,
    #[sea_orm(column_name = "type")]
    kind: String,
    enabled: bool,
    event_name: String,
    metadata: String,
    variants: Option<String>,
    default_variant: String,
    targetings: Option<String>,
}
