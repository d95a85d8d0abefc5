//! Measures the slot from time to time, whoever reads it: what the server keeps for it is the one way in which a reader
//! that stands still harms the database.

use std::sync::Arc;

use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::{Fault, SourceConfig, catalog, metric, publication, table::Table};

/// The measuring task; ends with the value.
#[derive(Debug)]
pub(crate) struct Monitor(JoinHandle<()>);

impl Monitor {
    pub(crate) fn start(config: Arc<SourceConfig>) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(config.measure);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A database that is away is the reader's to tell.
                let _ = measure(&config).await;
            }
        }))
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn measure(config: &SourceConfig) -> Result<(), Fault> {
    let mut sql = catalog::connect(config).await?;
    let Some(slot) = catalog::slot(&mut sql, config).await? else {
        return Ok(());
    };
    metrics::gauge!(metric::RETAINED_BYTES, "source" => config.name.clone()).set(slot.retained as f64);
    metrics::gauge!(metric::LAG_BYTES, "source" => config.name.clone()).set(slot.lag as f64);
    if slot.retained > config.retained_warning as i64 {
        tracing::warn!(
            source = config.name,
            slot = config.slot,
            retained_bytes = slot.retained,
            "the database keeps much of its log for this slot: see why events are not routed, or its disk fills up"
        );
    }
    // A table that is dropped and made anew is in no publication, and nothing else would tell.
    let Some(table) = Table::find(&mut sql, config).await? else {
        return Ok(());
    };
    let publication = publication::look(&mut sql, config, Some(&table)).await?;
    if let Some(statement) = publication.statements.first() {
        tracing::error!(
            source = config.name,
            statement,
            "the publication does not hold the table: its rows are not seen until this is run"
        );
    }
    Ok(())
}
