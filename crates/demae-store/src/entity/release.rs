//! `releases`: a version of the product.

use super::resource::unchanging_table;

unchanging_table! {
    "releases",
    fixed [Slug, Version],
    version: String,
    description: Option<String>,
}
