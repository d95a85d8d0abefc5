//! What an operator can see of a slot before it does harm.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use demae_cdc::{MissingSlot, SourceConfig, metric};
use demae_testkit::postgres::Durability;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Database, OUTBOX, active, reader, while_reading};

/// What a warning of retained log begins with.
const WARNING: &str = "the database keeps much of its log";

/// What is logged on this thread, which is the one that everything of a test runs on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// A log, and what keeps it in place.
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The first line that has this.
    fn line(&self, part: &str) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().find(|line| line.contains(part)).map(str::to_owned)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A figure of the source.
fn figure(metrics: &PrometheusHandle, name: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Yields to the measuring task, and its questions to the server, until it is so.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// A source of which every measurement warns above so many bytes.
fn config(database: &Database, retained_warning: u64) -> SourceConfig {
    SourceConfig {
        retained_warning,
        ..database.config(MissingSlot::Create)
    }
}

#[tokio::test]
async fn what_the_slot_retains_is_measured_and_warned_of() {
    const MEBIBYTE: u64 = 1 << 20;
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recorder = ::metrics::set_default_local_recorder(&recorder);
    let (log, _guard) = Log::begin();
    // A server of its own: what others write is retained, too.
    let (_postgres, mut database) = Database::on_own_server(Durability::None).await;
    let slot = database.slot();
    let mut reader = reader(config(&database, 4 * MEBIBYTE));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    let retained = || figure(&metrics, metric::RETAINED_BYTES);
    let active_here = || figure(&metrics, metric::ACTIVE) == Some(1.0);
    while_reading(&mut reader, until(|| retained().is_some() && active_here())).await;
    assert_eq!(log.line(WARNING), None);

    // Nobody reads on, and the database goes on writing.
    database
        .run("CREATE TABLE noise AS SELECT repeat(md5(n::text), 100) FROM generate_series(1, 100000) n")
        .await;
    let much = (4 * MEBIBYTE) as f64;
    until(|| log.line(WARNING).is_some()).await;
    assert!(retained().is_some_and(|bytes| bytes > much));
    assert!(figure(&metrics, metric::LAG_BYTES).is_some_and(|bytes| bytes > much));
    let warning = log.line(WARNING).unwrap();
    assert!(
        warning.contains(&slot) && warning.contains("retained_bytes="),
        "{warning}"
    );
}

#[tokio::test]
async fn a_table_that_was_made_anew_is_told_with_the_statement_that_publishes_it() {
    let (log, _guard) = Log::begin();
    let mut database = Database::create().await;
    let slot = database.slot();
    let mut reader = reader(config(&database, u64::MAX >> 1));
    while_reading(&mut reader, database.until(&active(&slot), "true")).await;
    database.run(format!("DROP TABLE outbox_events; {OUTBOX}")).await;
    while_reading(&mut reader, until(|| log.line("ERROR").is_some())).await;
    let told = log.line("ERROR").unwrap();
    assert!(told.contains("ALTER PUBLICATION"), "{told}");
}
