//! Names and texts as SQL writes them.
//!
//! Names come from settings; they are quoted here, in one place, and never pasted as they are.

use crate::SourceConfig;

/// Quotes an identifier.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."table"`.
pub(crate) fn quoted_table(config: &SourceConfig) -> String {
    let (schema, table) = config.table_parts();
    format!("{}.{}", quote(schema), quote(table))
}

/// Text as an SQL literal. Only for names that were checked and for statements that are shown.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
