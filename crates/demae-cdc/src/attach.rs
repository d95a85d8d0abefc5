//! Preparing somebody else's database: looking at what is there and what its user may do, then the statements that are
//! missing, shown before they are run.
//!
//! What is made: the outbox table if there is none, a function `demae_emit` that writes an event from any language, a
//! publication of the table's inserts, and the slot. Running it again changes nothing that is right.

use std::time::Duration;

use demae_event::OrganizationId;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::time::{Instant, sleep};

use crate::{
    CdcError, Fault, Mapping, Preset, SourceConfig, catalog,
    error::create_slot,
    mapping::Ids,
    publication,
    quoting::{literal, quote, quoted_table},
    statement::{self, Tell},
    table::{self, Table},
};

/// The server looks once a second whether the client of a statement is still there.
const NOTICE: Duration = Duration::from_secs(10);
const NOTICE_PAUSE: Duration = Duration::from_millis(100);
/// Encodings from which Postgres cannot turn every text into UTF-8, which is what an event is written in.
const UNFIT_ENCODINGS: [&str; 2] = ["SQL_ASCII", "MULE_INTERNAL"];

/// What is to be attached.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Where, which table, which names.
    pub config: SourceConfig,
    /// What the table looks like.
    pub preset: Preset,
}

/// What was found and what is missing.
#[derive(Debug)]
pub struct Plan {
    /// What was looked at, for people: each is right, or a fault with a remedy.
    pub findings: Vec<Finding>,
    /// What is right and may surprise all the same.
    pub notes: Vec<String>,
    /// The ids of the table are numbers, so the entry needs `derive_ids = true`.
    pub derives_ids: bool,
    /// The statements to run, in this order. The last one makes the slot, outside of the transaction of the others.
    pub statements: Vec<String>,
}

impl Plan {
    /// Whether nothing that was found stands in the way.
    pub fn is_possible(&self) -> bool {
        self.findings.iter().all(|finding| finding.fault.is_none())
    }
}

/// Something that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What it is, e.g. `wal_level is logical`.
    pub what: String,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

impl Finding {
    fn of(what: impl Into<String>, fault: Option<Fault>) -> Self {
        Self {
            what: what.into(),
            fault,
        }
    }
}

impl Attachment {
    /// An attachment of `table`, whose rows all belong to `organization` unless they say themselves.
    pub fn new(mut config: SourceConfig, preset: Preset, organization: Option<OrganizationId>) -> Self {
        config.mapping = Mapping {
            fixed_organization: organization,
            ..preset.into()
        };
        Self { config, preset }
    }

    /// Looks at the database; changes nothing.
    pub async fn plan(&self) -> Result<Plan, CdcError> {
        self.look().await.map_err(|fault| fault.of(&self.config))
    }

    /// Runs the statements of a plan: all but the last in one transaction, so that either all of them hold or none. Each
    /// may wait for `limit`, and whom it waits for is told meanwhile. Dropped, it leaves no half-made slot behind.
    pub async fn install(&self, plan: &Plan, limit: Duration, tell: Tell<'_>) -> Result<(), CdcError> {
        self.run(plan, limit, tell)
            .await
            .map_err(|fault| fault.of(&self.config))
    }

    /// After [`Attachment::install`] was dropped: returns when the server has dropped the slot that was being made, or has
    /// made it after all. A session that does not go is named.
    pub async fn wait_until_none_is_unfinished(&self) -> Result<(), CdcError> {
        self.finished().await.map_err(|fault| fault.of(&self.config))
    }

    async fn finished(&self) -> Result<(), Fault> {
        let config = &self.config;
        let mut sql = catalog::connect(config).await?;
        let deadline = Instant::now() + NOTICE;
        loop {
            let unfinished = catalog::slot(&mut sql, config)
                .await?
                .filter(|slot| slot.unfinished);
            let Some(pid) = unfinished.and_then(|slot| slot.pid) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let (slot, waiting) = (config.slot.clone(), String::new());
                return Err(Fault::SlotUnfinished { slot, pid, waiting });
            }
            sleep(NOTICE_PAUSE).await;
        }
    }

    async fn look(&self) -> Result<Plan, Fault> {
        let config = &self.config;
        let mut sql = catalog::connect(config).await?;
        let mut findings = server_findings(&mut sql, config).await?;
        let table = Table::find(&mut sql, config).await?;
        let mut statements = Vec::new();
        let mut notes = Vec::new();
        // Numbers become ids by themselves.
        let mut derived = config.clone();
        let derives_ids = table
            .as_ref()
            .is_some_and(|table| table.needs_derived_ids(&config.mapping));
        if derives_ids {
            derived.mapping.ids = Ids::Derived;
            notes.push(
                "its ids are numbers: the ids of events are derived from them (derive_ids = true)".to_owned(),
            );
        }
        if let Some(table) = &table {
            findings.extend(table_findings(&derived, table));
            notes.extend(table.notes(config));
        } else {
            findings.push(absent_finding(&mut sql, config).await?);
            statements.push(self.create_table());
        }
        match self.create_function(table.as_ref()) {
            Some(statement) => statements.push(statement),
            None => notes.push(
                "no function demae_emit: this table cannot take organization, name, type and payload as they are, and \
                 messages are not read (--messages)"
                    .to_owned(),
            ),
        }
        let publication = publication::look(&mut sql, config, table.as_ref()).await?;
        statements.extend(publication.statements);
        let published = format!("the publication {}", config.publication);
        let filtered = publication
            .filter
            .map(|filter| publication::filtered(config, &filter));
        let faults = publication
            .faults
            .into_iter()
            .chain(publication.identity)
            .chain(filtered);
        findings.extend(faults.map(|fault| Finding::of(&published, Some(fault))));
        let (finding, making) = slot_finding(&mut sql, config).await?;
        findings.push(finding);
        statements.extend(making);
        let _ = sql.close().await;
        Ok(Plan {
            findings,
            notes,
            derives_ids,
            statements,
        })
    }

    async fn run(&self, plan: &Plan, limit: Duration, tell: Tell<'_>) -> Result<(), Fault> {
        let slot = create_slot(&self.config.slot);
        let preparing: Vec<&str> = plan
            .statements
            .iter()
            .map(String::as_str)
            .filter(|statement| *statement != slot)
            .collect();
        if !preparing.is_empty() {
            statement::run(&self.config, &preparing, limit, tell).await?;
        }
        if plan.statements.contains(&slot) {
            statement::run(&self.config, &[&slot], limit, tell).await?;
        }
        Ok(())
    }

    fn create_table(&self) -> String {
        let table = quoted_table(&self.config);
        let tenant = match self.config.mapping.fixed_organization {
            Some(_) => "",
            None => "organization_id uuid NOT NULL, ",
        };
        let columns = match self.preset {
            Preset::Demae => {
                "application_id uuid, event_name text NOT NULL, event_type text NOT NULL, \
                 payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'), \
                 headers jsonb CHECK (jsonb_typeof(headers) = 'object'), traceparent text, \
                 created_at timestamptz NOT NULL DEFAULT now()"
            }
            Preset::Seed => {
                "event_name text NOT NULL, event_type text NOT NULL, \
                 payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'), traceparent text, \
                 created_at timestamptz NOT NULL DEFAULT now()"
            }
            Preset::Debezium => {
                "aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL, \
                 type varchar(255) NOT NULL, payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object')"
            }
            Preset::CloudEvents => {
                "source text NOT NULL, type text NOT NULL, subject text, time timestamptz NOT NULL DEFAULT now(), \
                 data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object')"
            }
        };
        format!("CREATE TABLE {table} (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), {tenant}{columns})")
    }

    /// Where rows say organization, name and type by themselves the function writes a row. Other tables have no place
    /// for all three, so there it writes a message into the log, which is an event without a table: if messages are read.
    fn create_function(&self, table: Option<&Table>) -> Option<String> {
        let (schema, _) = self.config.table_parts();
        let body = match self.preset {
            Preset::Demae | Preset::Seed
                if self.config.mapping.fixed_organization.is_none()
                    && table.is_none_or(|table| table.takes_rows(&self.config.mapping)) =>
            {
                self.insert(table)
            }
            _ if !self.config.messages => return None,
            _ => "WITH event AS MATERIALIZED (SELECT gen_random_uuid() AS id), \
                  written AS MATERIALIZED (SELECT id, pg_logical_emit_message(true, 'demae', \
                  jsonb_build_object('id', id, 'organization_id', $1, 'event_name', $2, 'event_type', $3, \
                  'payload', $4)::text) AS position FROM event) SELECT id FROM written WHERE position IS NOT NULL"
                .to_owned(),
        };
        Some(format!(
            "CREATE OR REPLACE FUNCTION {}.demae_emit(organization uuid, name text, type text, payload jsonb) \
             RETURNS uuid LANGUAGE sql VOLATILE AS {}",
            quote(schema),
            literal(&body)
        ))
    }
}

impl Attachment {
    /// The insert of a row, in the types that the table has.
    fn insert(&self, table: Option<&Table>) -> String {
        let type_of = |name: &str| table.and_then(|table| table.type_of(name));
        let payload = if type_of("data").is_some() && type_of("payload").is_none() {
            "data"
        } else {
            "payload"
        };
        let columns = ["organization_id", "event_name", "event_type", payload];
        let values: Vec<String> = (1..)
            .zip(columns)
            .map(|(number, column)| match type_of(column) {
                Some(kind) => format!("${number}::{kind}"),
                None => format!("${number}"),
            })
            .collect();
        format!(
            "INSERT INTO {} (id, {}) VALUES (gen_random_uuid(), {}) RETURNING id::uuid",
            quoted_table(&self.config),
            columns.join(", "),
            values.join(", ")
        )
    }
}

fn table_findings(config: &SourceConfig, table: &Table) -> Vec<Finding> {
    let what = format!("the table {} is there", config.table);
    let fits = crate::mapping::Layout::new(&config.mapping, &config.name, table.plain_columns());
    let mut faults = table.faults(config);
    match fits {
        Err(missing) => faults.push(table::column_missing(config, &missing, &table.plain_columns())),
        Ok(_) if !table.is_owned => faults.push(Fault::Denied {
            statement: format!(
                "ALTER TABLE {} OWNER TO {}",
                quoted_table(config),
                quote(config.target.user())
            ),
            reason: "only the owner of a table can publish it".to_owned(),
        }),
        Ok(_) => {}
    }
    if faults.is_empty() {
        return vec![Finding::of(what, None)];
    }
    let findings = faults.into_iter().map(|fault| Finding::of(&what, Some(fault)));
    findings.collect()
}

/// There is no such table. If there is one with almost this name, it was probably meant.
async fn absent_finding(sql: &mut PgConnection, config: &SourceConfig) -> Result<Finding, Fault> {
    let alike = table::alike(sql, config).await?;
    let what = format!("there is no table {} yet: it will be made", config.table);
    let fault = alike.first().map(|first| Fault::Unfit {
        what: format!(
            "there is no table {}, but {}: upper and lower case matter",
            config.table,
            alike.join(", ")
        ),
        remedy: format!("Name it: --table '{first}'; or make the other one yourself before you attach it"),
    });
    Ok(Finding::of(what, fault))
}

/// Whether the slot is there, and the statement that makes it.
async fn slot_finding(
    sql: &mut PgConnection,
    config: &SourceConfig,
) -> Result<(Finding, Vec<String>), Fault> {
    let name = &config.slot;
    let Some(slot) = catalog::slot(sql, config).await? else {
        let what = format!("the replication slot {name} will be made");
        return Ok((Finding::of(what, None), vec![create_slot(name)]));
    };
    let what = format!("the replication slot {name} is there");
    let drop = || {
        vec![
            format!("SELECT pg_drop_replication_slot({})", literal(name)),
            create_slot(name),
        ]
    };
    if let Some(owner) = crate::slot::stranger(&slot, config) {
        let slot = name.clone();
        return Ok((
            Finding::of(what, Some(Fault::SlotTaken { slot, owner })),
            Vec::new(),
        ));
    }
    match slot.pid {
        Some(pid) if slot.unfinished => {
            let blockers = statement::blockers(sql, config, pid).await?;
            let waiting = if blockers.is_empty() {
                String::new()
            } else {
                format!(", which waits for {}", statement::names(&blockers))
            };
            let slot = name.clone();
            let fault = Fault::SlotUnfinished { slot, pid, waiting };
            Ok((Finding::of(what, Some(fault)), Vec::new()))
        }
        None if slot.unfinished || slot.lost => {
            let what = format!("the replication slot {name} is of no use and will be made anew");
            Ok((Finding::of(what, None), drop()))
        }
        _ => Ok((Finding::of(what, None), Vec::new())),
    }
}

async fn server_findings(sql: &mut PgConnection, config: &SourceConfig) -> Result<Vec<Finding>, Fault> {
    let row = catalog::ask(
        config,
        sqlx::query(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, \
             current_setting('wal_level'), \
             EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND (r.rolsuper OR r.rolreplication)) \
             OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'rds_replication' AND pg_has_role(r.oid, 'MEMBER')), \
             has_database_privilege(current_database(), 'CREATE'), \
             (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> $1) \
             < current_setting('max_replication_slots')::int8, \
             current_setting('server_encoding'), pg_is_in_recovery()",
        )
        .bind(&config.slot)
        .fetch_one(sql),
    )
    .await?;
    let version: String = row.get(0);
    let wal_level: String = row.get(2);
    let user = config.target.user();
    let encoding: String = row.get(6);
    let check = |what: String, holds: bool, fault: Fault| Finding {
        what,
        fault: (!holds).then_some(fault),
    };
    Ok(vec![
        check(
            format!("the server is Postgres {version}"),
            row.get::<i32, _>(1) >= table::OLDEST,
            Fault::TooOld {
                found: version.clone(),
            },
        ),
        check(
            format!("wal_level is {wal_level}"),
            wal_level == "logical",
            Fault::WalLevel {
                found: wal_level.clone(),
            },
        ),
        check(
            format!("{user} may use replication"),
            row.get(3),
            Fault::NoReplicationRight {
                user: user.to_owned(),
            },
        ),
        check(
            format!("{user} may make publications in {}", config.target.database()),
            row.get(4),
            Fault::Denied {
                statement: format!(
                    "GRANT CREATE ON DATABASE {} TO {}",
                    quote(config.target.database()),
                    quote(user)
                ),
                reason: "a publication needs the right CREATE on the database".to_owned(),
            },
        ),
        check(
            "a replication slot is free".to_owned(),
            row.get(5),
            Fault::NoFreeSlot,
        ),
        check(
            format!("the database is in {encoding}"),
            !UNFIT_ENCODINGS.contains(&encoding.as_str()),
            Fault::Unfit {
                what: format!(
                    "the database is in {encoding}, which says nothing about what its bytes mean: an event is written in \
                     UTF-8"
                ),
                remedy: "Move it to a database that is made with ENCODING 'UTF8': pg_dump, CREATE DATABASE … TEMPLATE \
                         template0 ENCODING 'UTF8', restore"
                    .to_owned(),
            },
        ),
        check(
            "the server takes writes".to_owned(),
            !row.get::<bool, _>(7),
            Fault::Unfit {
                what: "the server is a standby, where no publication can be made".to_owned(),
                remedy: "Attach the primary: the host in the URL".to_owned(),
            },
        ),
    ])
}
