//! Whether a publication carries the rows of the outbox table as the reader needs them, and what mends it.
//!
//! A publication can be there, hold the table, and still keep events back without a word: rows outside a filter, columns
//! outside a list, generated columns, partitions under their own names, operations that are not published.

use sqlx::{PgConnection, Row as _};

use crate::{
    Fault, SourceConfig, catalog,
    quoting::{quote, quoted_table},
    table::Table,
};

/// The first server that publishes generated columns, if it is asked to.
const PUBLISHES_GENERATED: i32 = 180_000;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The statements that are missing until the table's inserts are in it.
    pub(crate) statements: Vec<String>,
    /// What no statement of ours can mend.
    pub(crate) faults: Vec<Fault>,
    /// To add the table would keep its owner from updating or deleting rows. It keeps nothing back.
    pub(crate) identity: Option<Fault>,
    /// Rows outside this condition are kept back, which somebody may have meant.
    pub(crate) filter: Option<String>,
}

/// A publication as the catalogue has it.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the catalogue")]
struct Publication {
    inserts: bool,
    updates_or_deletes: bool,
    operations: Vec<&'static str>,
    via_root: bool,
    generated: bool,
    /// The table's rows come under its name.
    lists_table: bool,
    filter: Option<String>,
    /// The columns of a list, if it has one.
    list: Option<Vec<String>>,
    /// Some partition of the table is in it, or the table itself.
    touches_table: bool,
}

/// Looks; changes nothing. `table`: `None` if it is to be made.
pub(crate) async fn look(
    sql: &mut PgConnection,
    config: &SourceConfig,
    table: Option<&Table>,
) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    let generated = table
        .map(|table| table.generated(&config.mapping))
        .unwrap_or_default();
    let Some(publication) = find(sql, config).await? else {
        let stored = table.is_some_and(|table| table.version >= PUBLISHES_GENERATED);
        findings
            .statements
            .push(create(config, !generated.is_empty() && stored));
        findings
            .faults
            .extend(unpublished(config, table, &generated, stored));
        return Ok(findings);
    };
    let name = quote(&config.publication);
    let Some(table) = table else {
        findings.statements.push(add(config));
        return Ok(findings);
    };
    if !publication.lists_table {
        if let Some(root) = &table.partition_of {
            findings.faults.push(partition(config, root));
            return Ok(findings);
        }
        if !publication.touches_table {
            findings.statements.push(add(config));
        }
        if table.is_partitioned && !publication.via_root {
            findings.statements.push(format!(
                "ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"
            ));
        }
    }
    if !publication.inserts {
        let mut operations = publication.operations.clone();
        operations.insert(0, "insert");
        findings.statements.push(format!(
            "ALTER PUBLICATION {name} SET (publish = '{}')",
            operations.join(", ")
        ));
    }
    if publication.updates_or_deletes && !table.has_identity {
        findings.identity = Some(no_identity(config));
    }
    findings.filter = publication.filter;
    match &publication.list {
        Some(list) => findings.faults.extend(listed(config, table, list)),
        None if generated.is_empty() || publication.generated => {}
        None => {
            let stored = table.version >= PUBLISHES_GENERATED;
            let fault = unpublished(config, Some(table), &generated, stored);
            if fault.is_none() {
                findings.statements.push(format!(
                    "ALTER PUBLICATION {name} SET (publish_generated_columns = stored)"
                ));
            }
            findings.faults.extend(fault);
        }
    }
    Ok(findings)
}

async fn find(sql: &mut PgConnection, config: &SourceConfig) -> Result<Option<Publication>, Fault> {
    let (schema, table) = config.table_parts();
    // Through JSON: Postgres 14 knows neither filters nor lists, and 18 was the first to publish generated columns.
    let row = catalog::ask(
        config,
        sqlx::query(
            "SELECT p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
             coalesce(to_jsonb(p) ->> 'pubgencols' = 's', false), t.listed, t.filter, \
             CASE WHEN r.list IS NOT NULL THEN t.columns END, \
             p.puballtables OR r.touches FROM pg_publication p \
             LEFT JOIN LATERAL (SELECT true AS listed, to_jsonb(x) ->> 'rowfilter' AS filter, \
             ARRAY(SELECT jsonb_array_elements_text(to_jsonb(x) -> 'attnames')) AS columns \
             FROM pg_publication_tables x WHERE x.pubname = p.pubname AND x.schemaname = $2 AND x.tablename = $3) t ON true \
             LEFT JOIN LATERAL (SELECT max(to_jsonb(m) ->> 'prattrs') AS list, count(*) > 0 AS touches \
             FROM pg_publication_rel m JOIN pg_class c ON c.oid = m.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE m.prpubid = p.oid AND n.nspname = $2 AND c.relname = $3) r ON true WHERE p.pubname = $1",
        )
        .bind(&config.publication)
        .bind(schema)
        .bind(table)
        .fetch_optional(&mut *sql),
    )
    .await?;
    Ok(row.map(|row| {
        let publishes = [(1, "update"), (2, "delete"), (3, "truncate")];
        let operations: Vec<_> = publishes
            .into_iter()
            .filter(|(at, _)| row.get(*at))
            .map(|(_, name)| name)
            .collect();
        Publication {
            inserts: row.get(0),
            updates_or_deletes: row.get::<bool, _>(1) || row.get::<bool, _>(2),
            operations,
            via_root: row.get(4),
            generated: row.get(5),
            lists_table: row.get::<Option<bool>, _>(6).unwrap_or_default(),
            filter: row.get(7),
            list: row.get(8),
            touches_table: row.get::<Option<bool>, _>(9).unwrap_or_default(),
        }
    }))
}

/// Inserts only: rows that are routed or too old are deleted, and that must not be news.
fn create(config: &SourceConfig, generated: bool) -> String {
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert', publish_via_partition_root = true{})",
        quote(&config.publication),
        quoted_table(config),
        if generated {
            ", publish_generated_columns = stored"
        } else {
            ""
        }
    )
}

fn add(config: &SourceConfig) -> String {
    let name = quote(&config.publication);
    format!("ALTER PUBLICATION {name} ADD TABLE {}", quoted_table(config))
}

/// Takes the table out and in again, without filter and list.
fn add_anew(config: &SourceConfig) -> String {
    let name = quote(&config.publication);
    let table = quoted_table(config);
    format!("ALTER PUBLICATION {name} DROP TABLE {table}; ALTER PUBLICATION {name} ADD TABLE {table};")
}

fn partition(config: &SourceConfig, root: &str) -> Fault {
    Fault::Unfit {
        what: format!(
            "{} is a partition of {root}, and its rows come under that name",
            config.table
        ),
        remedy: format!("Attach the whole table: --table {root} (`table` in the [[source]] entry)"),
    }
}

fn no_identity(config: &SourceConfig) -> Fault {
    Fault::Unfit {
        what: format!(
            "the publication {} publishes updates or deletes, and {} has no replica identity: Postgres would refuse \
             UPDATE and DELETE on it",
            config.publication, config.table
        ),
        remedy: format!(
            "Choose another publication name, or run: ALTER TABLE {} REPLICA IDENTITY FULL;",
            quoted_table(config)
        ),
    }
}

/// What a filter is to whoever attaches a database.
pub(crate) fn filtered(config: &SourceConfig, filter: &str) -> Fault {
    Fault::Unfit {
        what: format!(
            "the publication {} keeps back all rows but those where {filter}",
            config.publication
        ),
        remedy: format!(
            "Run as the table's owner: {} If the filter is meant, write the [[source]] entry by hand",
            add_anew(config)
        ),
    }
}

fn listed(config: &SourceConfig, table: &Table, list: &[String]) -> Option<Fault> {
    let lacking: Vec<&str> = table
        .wanted(&config.mapping)
        .into_iter()
        .filter(|name| !list.iter().any(|listed| listed == name))
        .collect();
    (!lacking.is_empty()).then(|| Fault::Unfit {
        what: format!(
            "the publication {} has a column list without {}",
            config.publication,
            lacking.join(", ")
        ),
        remedy: format!("Run as the table's owner: {}", add_anew(config)),
    })
}

/// Why generated columns do not arrive. `stored`: the server can publish those that are stored.
fn unpublished(
    config: &SourceConfig,
    table: Option<&Table>,
    generated: &[(String, bool)],
    stored: bool,
) -> Option<Fault> {
    let lacking: Vec<&str> = generated
        .iter()
        .filter(|(_, is_stored)| !(stored && *is_stored))
        .map(|(name, _)| name.as_str())
        .collect();
    let (first, version) = (lacking.first()?, table?.version / 10_000);
    Some(Fault::Unfit {
        what: format!(
            "Postgres {version} does not publish the generated columns {} of {}",
            lacking.join(", "),
            config.table
        ),
        remedy: if stored {
            "Make them STORED, or name others in the [[source]] entry's `columns`".to_owned()
        } else {
            format!(
                "Name other columns in the [[source]] entry's `columns`, or make them ordinary ones that the writer \
                 fills: ALTER TABLE {} ALTER COLUMN {} DROP EXPRESSION;",
                quoted_table(config),
                quote(first)
            )
        },
    })
}
