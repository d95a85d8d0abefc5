//! Preparing somebody else's database: looking at what is there and what its user may do, then the statements that are
//! missing, shown before they are run.
//!
//! What is made: the outbox table if there is none, a function `demae_emit` that writes an event from any language, a
//! publication of the table's inserts, and the slot. Running it again changes nothing that is right.

use demae_event::OrganizationId;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::{
    CdcError, Fault, Mapping, Preset, SourceConfig,
    catalog::{self, quote, quoted_table},
    error::{create_slot, literal},
};

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

    /// Runs the statements of a plan: all but the last in one transaction, so that either all of them hold or none.
    pub async fn install(&self, plan: &Plan) -> Result<(), CdcError> {
        self.run(plan).await.map_err(|fault| fault.of(&self.config))
    }

    async fn look(&self) -> Result<Plan, Fault> {
        let config = &self.config;
        let mut sql = catalog::connect(config).await?;
        let mut findings = server_findings(&mut sql, config).await?;
        let columns = catalog::columns(&mut sql, config).await?;
        findings.push(self.table_finding(&mut sql, &columns).await?);
        let mut statements = Vec::new();
        if columns.is_empty() {
            statements.push(self.create_table());
        }
        statements.push(self.create_function(&columns));
        statements.extend(catalog::publication_statement(&mut sql, config).await?);
        if catalog::slot(&mut sql, config).await?.is_none() {
            statements.push(create_slot(&config.slot));
        }
        let _ = sql.close().await;
        Ok(Plan { findings, statements })
    }

    async fn run(&self, plan: &Plan) -> Result<(), Fault> {
        let config = &self.config;
        let mut sql = catalog::connect(config).await?;
        let slot = create_slot(&config.slot);
        catalog::run(&mut sql, config, "BEGIN").await?;
        for statement in plan.statements.iter().filter(|statement| **statement != slot) {
            // A failure closes the connection, and with it the transaction.
            catalog::run(&mut sql, config, statement).await?;
        }
        catalog::run(&mut sql, config, "COMMIT").await?;
        if plan.statements.contains(&slot) {
            catalog::run(&mut sql, config, &slot).await?;
        }
        let _ = sql.close().await;
        Ok(())
    }

    async fn table_finding(&self, sql: &mut PgConnection, columns: &[String]) -> Result<Finding, Fault> {
        let config = &self.config;
        let (schema, table) = config.table_parts();
        if columns.is_empty() {
            return Ok(Finding {
                what: format!("there is no table {schema}.{table} yet: it will be made"),
                fault: None,
            });
        }
        let fits = crate::mapping::Layout::new(&config.mapping, &config.name, columns.to_vec());
        let owner: bool = catalog::ask(
            config,
            sqlx::query(
                "SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2",
            )
            .bind(schema)
            .bind(table)
            .fetch_one(&mut *sql),
        )
        .await?
        .get(0);
        let what = format!("the table {schema}.{table} is there");
        let fault = match fits {
            Err(missing) => Some(catalog::column_missing(config, &missing)),
            Ok(_) if !owner => Some(Fault::Denied {
                statement: format!(
                    "ALTER TABLE {} OWNER TO {}",
                    quoted_table(config),
                    quote(config.target.user())
                ),
                reason: "only the owner of a table can publish it".to_owned(),
            }),
            Ok(_) => None,
        };
        Ok(Finding { what, fault })
    }

    fn create_table(&self) -> String {
        let table = quoted_table(&self.config);
        let tenant = match self.config.mapping.fixed_organization {
            Some(_) => "",
            None => "organization_id uuid NOT NULL, ",
        };
        let columns = match self.preset {
            Preset::Demae => {
                "event_name text NOT NULL, event_type text NOT NULL, \
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
    /// for all three, so there it writes a message into the log, which is an event without a table.
    fn create_function(&self, columns: &[String]) -> String {
        let (schema, _) = self.config.table_parts();
        let body = match self.preset {
            Preset::Demae | Preset::Seed if self.config.mapping.fixed_organization.is_none() => {
                let is_there = |name| columns.iter().any(|column| column == name);
                let payload = if is_there("data") && !is_there("payload") {
                    "data"
                } else {
                    "payload"
                };
                format!(
                    "INSERT INTO {} (id, organization_id, event_name, event_type, {payload}) \
                     VALUES (gen_random_uuid(), $1, $2, $3, $4) RETURNING id",
                    quoted_table(&self.config)
                )
            }
            _ => "WITH event AS MATERIALIZED (SELECT gen_random_uuid() AS id), \
                  written AS MATERIALIZED (SELECT id, pg_logical_emit_message(true, 'demae', \
                  jsonb_build_object('id', id, 'organization_id', $1, 'event_name', $2, 'event_type', $3, \
                  'payload', $4)::text) AS position FROM event) SELECT id FROM written WHERE position IS NOT NULL"
                .to_owned(),
        };
        format!(
            "CREATE OR REPLACE FUNCTION {}.demae_emit(organization uuid, name text, type text, payload jsonb) \
             RETURNS uuid LANGUAGE sql VOLATILE AS {}",
            quote(schema),
            literal(&body)
        )
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
             < current_setting('max_replication_slots')::int8",
        )
        .bind(&config.slot)
        .fetch_one(sql),
    )
    .await?;
    let version: String = row.get(0);
    let wal_level: String = row.get(2);
    let user = config.target.user();
    let check = |what: String, holds: bool, fault: Fault| Finding {
        what,
        fault: (!holds).then_some(fault),
    };
    Ok(vec![
        check(
            format!("the server is Postgres {version}"),
            row.get::<i32, _>(1) >= catalog::OLDEST,
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
    ])
}
