//! The publication and the replication slot before a stream starts: there, made, waited for, or a fault.
//!
//! The slot is the lock of the active reader: while another process holds it, this one looks again from time to time.

use std::sync::Arc;

use sqlx::PgConnection;

use crate::{
    Fault, MissingSlot, SourceConfig, catalog,
    connection::{Connection, Purpose, Trouble},
    error::create_slot,
    publication,
    quoting::literal,
    statement::{self, Waiting},
    table::Table,
};

/// Makes the publication, or what is missing of it, if that was asked for; otherwise its absence is the fault.
pub(crate) async fn ensure_publication(
    sql: &mut PgConnection,
    config: &SourceConfig,
    table: &Table,
) -> Result<(), Fault> {
    let findings = publication::look(sql, config, Some(table)).await?;
    if let Some(filter) = &findings.filter {
        tracing::warn!(
            source = config.name,
            publication = config.publication,
            filter,
            "the publication keeps back all other rows"
        );
    }
    if let Some(fault) = findings.faults.into_iter().next() {
        return Err(fault);
    }
    if config.missing_slot == MissingSlot::Refuse && !findings.statements.is_empty() {
        let (schema, table) = config.table_parts();
        return Err(Fault::PublicationMissing {
            publication: config.publication.clone(),
            statement: findings.statements.join("; "),
            table: format!("{schema}.{table}"),
        });
    }
    for statement in findings.statements {
        tracing::info!(source = config.name, statement, "preparing the database");
        catalog::run(sql, config, &statement).await?;
    }
    Ok(())
}

/// Returns when the slot exists, is ours and free. `renew`: it is there and of no use, see [`Fault::PublicationTooYoung`].
pub(crate) async fn wait_until_free(
    sql: &mut PgConnection,
    config: &Arc<SourceConfig>,
    mut renew: bool,
) -> Result<(), Fault> {
    let mut standing_by = false;
    loop {
        let name = || config.slot.clone();
        let Some(slot) = catalog::slot(sql, config).await? else {
            make(sql, config, None, Fault::SlotMissing { slot: name() }).await?;
            continue;
        };
        if let Some(owner) = stranger(&slot, config) {
            return Err(Fault::SlotTaken { slot: name(), owner });
        }
        if slot.lost || (renew && !slot.active) {
            renew = false;
            let drop = format!("SELECT pg_drop_replication_slot({})", literal(&config.slot));
            make(sql, config, Some(&drop), Fault::SlotLost { slot: name() }).await?;
            continue;
        }
        if !slot.active {
            if slot.stays_behind {
                keep_over_failover(config).await;
            }
            return Ok(());
        }
        if !standing_by {
            standing_by = true;
            tracing::info!(
                source = config.name,
                slot = config.slot,
                "another process reads the slot: standing by"
            );
        }
        tokio::time::sleep(config.standby).await;
    }
}

/// Lets the server copy the slot to its standbys, so that it is there after a failover. A server that refuses is read all
/// the same.
async fn keep_over_failover(config: &Arc<SourceConfig>) {
    let altered = async {
        let mut connection = Connection::open(config, Purpose::Replication).await?;
        connection.keep_over_failover().await?;
        connection.close().await;
        Ok::<_, Trouble>(())
    };
    match altered.await {
        Ok(()) => tracing::info!(
            source = config.name,
            slot = config.slot,
            "standbys that synchronize slots have this one too from now on"
        ),
        Err(trouble) => tracing::warn!(
            source = config.name,
            slot = config.slot,
            error = %trouble.fault(config),
            "the slot is not copied to standbys; unless another process just took it, it will be missing after a failover"
        ),
    }
}

/// Who else the slot belongs to.
pub(crate) fn stranger(slot: &catalog::Slot, config: &SourceConfig) -> Option<String> {
    match (&slot.database, slot.plugin.as_deref()) {
        (None, _) => Some("a physical replica".to_owned()),
        (Some(database), _) if database != config.target.database() => {
            Some(format!("the database {database}"))
        }
        (_, Some("pgoutput")) => None,
        (_, plugin) => Some(format!("the plugin {}", plugin.unwrap_or("(none)"))),
    }
}

/// Makes the slot if that was asked for; otherwise its absence is the fault.
async fn make(
    sql: &mut PgConnection,
    config: &SourceConfig,
    drop: Option<&str>,
    absence: Fault,
) -> Result<(), Fault> {
    match config.missing_slot {
        MissingSlot::Refuse => return Err(absence),
        MissingSlot::Create => {
            tracing::warn!(
                source = config.name,
                slot = config.slot,
                "{absence}: making it; what was committed before is not read"
            );
        }
        MissingSlot::CreateAndReadTable => {
            tracing::info!(
                source = config.name,
                slot = config.slot,
                "{absence}: making it and reading the table first"
            );
            catalog::mark(sql, config, true).await?;
        }
    }
    if let Some(drop) = drop {
        catalog::run(sql, config, drop).await?;
    }
    let statement = create_slot(&config.slot);
    let tell = &mut |waiting: &Waiting| {
        tracing::warn!(
            source = config.name,
            slot = config.slot,
            "making the slot: {waiting}"
        );
    };
    statement::run(config, &[&statement], catalog::SLOT_CREATION, tell).await
}
