//! The outbox table as the catalogue has it: what it is, its columns, and what stands in the way of reading its rows from
//! the log.

use sqlx::{PgConnection, Row as _, postgres::types::Oid};

use crate::{
    Fault, Mapping, SourceConfig,
    catalog::{self, ask},
    mapping::{Ids, Layout, MissingColumn},
    pgoutput::Column,
    quoting::{quote, quoted_table},
};

/// The oldest server whose output plugin sends messages.
pub(crate) const OLDEST: i32 = 140_000;

/// A column and what only the catalogue knows of it.
#[derive(Debug, Clone)]
pub(crate) struct TableColumn {
    /// With the type below it, if its own is a domain.
    pub(crate) column: Column,
    /// That type, for people and as Postgres writes it: `bigint`.
    type_name: String,
    /// Its own type, as Postgres writes it.
    declared: String,
    /// Generated, and whether it is stored.
    generated: Option<bool>,
}

/// The table.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the catalogue")]
pub(crate) struct Table {
    /// The server's version: 180004.
    pub(crate) version: i32,
    /// Whether the user owns it.
    pub(crate) is_owned: bool,
    pub(crate) is_partitioned: bool,
    /// The table that it is a partition of, directly or not.
    pub(crate) partition_of: Option<String>,
    /// Updates and deletes can be published.
    pub(crate) has_identity: bool,
    pub(crate) columns: Vec<TableColumn>,
    kind: String,
    is_permanent: bool,
    /// Tables that inherit from it and are no partitions.
    children: Vec<String>,
    /// What may keep a row from being written, or write it elsewhere.
    triggers: Vec<String>,
    has_row_security: bool,
}

impl Table {
    /// Looks it up; `None` if there is no relation of this name.
    pub(crate) async fn find(sql: &mut PgConnection, config: &SourceConfig) -> Result<Option<Self>, Fault> {
        let (schema, table) = config.table_parts();
        let row = catalog::ask(
            config,
            sqlx::query(
                "SELECT c.oid, current_setting('server_version_num')::int4, pg_has_role(c.relowner, 'USAGE'), \
                 c.relkind::text, c.relpersistence = 'p', c.relrowsecurity, \
                 CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::regclass::text END, \
                 c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND \
                 CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END), \
                 ARRAY(SELECT k.oid::regclass::text FROM pg_inherits i JOIN pg_class k ON k.oid = i.inhrelid \
                 WHERE i.inhparent = c.oid AND NOT k.relispartition ORDER BY 1), \
                 ARRAY(SELECT 'trigger ' || quote_ident(t.tgname) FROM pg_trigger t WHERE t.tgrelid = c.oid \
                 AND NOT t.tgisinternal AND t.tgtype & 7 = 7 AND t.tgenabled <> 'D' UNION ALL \
                 SELECT 'rule ' || quote_ident(r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '3' \
                 AND r.is_instead ORDER BY 1) \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 \
                 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            )
            .bind(schema)
            .bind(table)
            .fetch_optional(&mut *sql),
        )
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let kind: String = row.get(3);
        Ok(Some(Self {
            version: row.get(1),
            is_owned: row.get(2),
            is_partitioned: kind == "p",
            kind,
            is_permanent: row.get(4),
            has_row_security: row.get(5),
            partition_of: row.get(6),
            has_identity: row.get(7),
            children: row.get(8),
            triggers: row.get(9),
            columns: columns(sql, config, row.get(0)).await?,
        }))
    }

    /// Its columns as the log announces them.
    pub(crate) fn plain_columns(&self) -> Vec<Column> {
        self.columns.iter().map(|found| found.column.clone()).collect()
    }

    /// The columns that become part of an event.
    pub(crate) fn wanted(&self, mapping: &Mapping) -> Vec<&str> {
        mapping
            .fields()
            .filter_map(|names| names.iter().find_map(|name| self.column(name)))
            .map(|found| found.column.name.as_str())
            .collect()
    }

    /// Those of them that are generated, and whether each is stored.
    pub(crate) fn generated(&self, mapping: &Mapping) -> Vec<(String, bool)> {
        self.wanted(mapping)
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.column(name)?.generated?)))
            .collect()
    }

    /// Whether a function can write an event into it field by field, with an id of its own.
    pub(crate) fn takes_rows(&self, mapping: &Mapping) -> bool {
        self.generated(mapping).is_empty() && !self.needs_derived_ids(mapping)
    }

    /// What is in the way of reading its rows, whatever the publication.
    pub(crate) fn faults(&self, config: &SourceConfig) -> Vec<Fault> {
        let unfit = |what: String, remedy: String| Fault::Unfit { what, remedy };
        let mut faults = Vec::new();
        let kind = match self.kind.as_str() {
            "v" => "a view",
            "m" => "a materialized view",
            "f" => "a foreign table",
            _ if !self.is_permanent => "an unlogged or temporary table",
            _ => "",
        };
        if !kind.is_empty() {
            faults.push(unfit(
                format!(
                    "{} is {kind}, whose rows are not in the write-ahead log",
                    config.table
                ),
                "Name the table in which the rows are: --table (`table` in the [[source]] entry)".to_owned(),
            ));
        }
        if let Some(child) = self.children.first() {
            faults.push(unfit(
                format!(
                    "{} inherit from {}: rows that are written into them come under their names and would not be seen",
                    self.children.join(", "),
                    config.table
                ),
                format!(
                    "Attach each of them with a slot of its own, or end it: ALTER TABLE {child} NO INHERIT {};",
                    quoted_table(config)
                ),
            ));
        }
        faults.extend(self.id_fault(config));
        faults.extend(self.payload_fault(config));
        faults
    }

    /// What an operator should know of, and may have meant.
    pub(crate) fn notes(&self, config: &SourceConfig) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.triggers.is_empty() {
            notes.push(format!(
                "{} of {} may change a row, write it elsewhere or drop it: what is not in {} in the end is no event",
                self.triggers.join(", "),
                config.table,
                config.table
            ));
        }
        if self.has_row_security {
            notes.push(format!(
                "{} has row security: it decides who may write, and hides nothing from Demae",
                config.table
            ));
        }
        notes
    }

    /// Whether the id needs `derive_ids`.
    pub(crate) fn needs_derived_ids(&self, mapping: &Mapping) -> bool {
        mapping.ids == Ids::Uuid
            && self
                .first(&mapping.id)
                .is_some_and(|found| found.column.is_number())
    }

    fn id_fault(&self, config: &SourceConfig) -> Option<Fault> {
        let found = self.first(&config.mapping.id)?;
        let name = &found.column.name;
        self.needs_derived_ids(&config.mapping).then(|| Fault::Unfit {
            what: format!(
                "{name} of {} is {}, and ids must be UUIDs: every row would be rejected",
                config.table, found.type_name
            ),
            remedy: "Add this line to the [[source]] entry: derive_ids = true".to_owned(),
        })
    }

    fn payload_fault(&self, config: &SourceConfig) -> Option<Fault> {
        let found = self.first(&config.mapping.payload)?;
        let fits = ["jsonb", "json", "text", "character"]
            .iter()
            .any(|kind| found.type_name.starts_with(kind));
        // Types of their own may be written as JSON; whether they are, the first row shows.
        let is_own = found.column.type_id >= catalog::FIRST_OWN_TYPE;
        (!fits && !is_own).then(|| Fault::Unfit {
            what: format!(
                "{} of {} is {}, and payloads must be JSON objects in jsonb, json or text: every row would be rejected",
                found.column.name, config.table, found.type_name
            ),
            remedy: format!(
                "Change the type, or name another column in the [[source]] entry's `columns`: ALTER TABLE {} ALTER COLUMN \
                 {} TYPE jsonb USING …;",
                quoted_table(config),
                quote(&found.column.name)
            ),
        })
    }

    /// A column's type, to cast to.
    pub(crate) fn type_of(&self, name: &str) -> Option<&str> {
        self.column(name).map(|found| found.declared.as_str())
    }

    fn first(&self, names: &[String]) -> Option<&TableColumn> {
        names.iter().find_map(|name| self.column(name))
    }

    fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|found| found.column.name == name)
    }
}

async fn columns(
    sql: &mut PgConnection,
    config: &SourceConfig,
    table: Oid,
) -> Result<Vec<TableColumn>, Fault> {
    let rows = catalog::ask(
        config,
        sqlx::query(
            "SELECT a.attname::text, b.oid, format_type(b.oid, NULL), nullif(a.attgenerated::text, '') = 's', \
             format_type(a.atttypid, a.atttypmod) \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), t.oid) \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        )
        .bind(table)
        .fetch_all(&mut *sql),
    )
    .await?;
    Ok(rows
        .iter()
        .map(|row| TableColumn {
            column: Column {
                name: row.get(0),
                type_id: row.get::<Oid, _>(1).0,
            },
            type_name: row.get(2),
            generated: row.get(3),
            declared: row.get(4),
        })
        .collect())
}

/// Relations whose names differ in case or schema only: one of them is probably meant.
pub(crate) async fn alike(sql: &mut PgConnection, config: &SourceConfig) -> Result<Vec<String>, Fault> {
    let (schema, table) = config.table_parts();
    let rows = catalog::ask(
        config,
        sqlx::query(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE lower(c.relname) = lower($2) AND (n.nspname, c.relname) <> ($1, $2) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
             AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1 LIMIT 5",
        )
        .bind(schema)
        .bind(table)
        .fetch_all(&mut *sql),
    )
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether the server and the table are fit for it; the table.
pub(crate) async fn inspect(sql: &mut PgConnection, config: &SourceConfig) -> Result<Table, Fault> {
    let row = ask(
        config,
        sqlx::query(
            "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
             current_setting('wal_level')",
        )
        .fetch_one(&mut *sql),
    )
    .await?;
    let (number, version, wal_level): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST {
        return Err(Fault::TooOld { found: version });
    }
    if wal_level != "logical" {
        return Err(Fault::WalLevel { found: wal_level });
    }
    let Some(table) = Table::find(sql, config).await? else {
        let (schema, table) = config.table_parts();
        return Err(Fault::TableMissing {
            table: format!("{schema}.{table}"),
        });
    };
    let columns = table.plain_columns();
    if let Err(missing) = Layout::new(&config.mapping, &config.name, columns.clone()) {
        return Err(column_missing(config, &missing, &columns));
    }
    match table.faults(config).into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(table),
    }
}

/// The fault of a table that lacks a column.
pub(crate) fn column_missing(config: &SourceConfig, missing: &MissingColumn, there: &[Column]) -> Fault {
    let (schema, table) = config.table_parts();
    let same = |name: &String, column: &Column| name.eq_ignore_ascii_case(&column.name);
    let alike = there
        .iter()
        .find(|column| missing.names.iter().any(|name| same(name, column)));
    let alike = alike.map_or_else(String::new, |column| {
        format!("; there is {:?}, and upper and lower case matter", column.name)
    });
    Fault::ColumnMissing {
        table: format!("{schema}.{table}"),
        wanted: format!("for {} ({}){alike}", missing.field, missing.names.join(" or ")),
    }
}
