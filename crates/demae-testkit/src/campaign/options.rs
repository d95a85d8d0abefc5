//! What a campaign runs.

use std::{path::PathBuf, time::Duration};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program to try.
    pub binary: PathBuf,
    /// How long faults are planned for; healing, delivering and judging come on top.
    pub length: Duration,
    /// Everything random is drawn from it.
    pub seed: u64,
    /// Whether a broker stands between relays and workers; without one, relays route.
    pub broker: bool,
    /// Whether relays follow the write-ahead log; otherwise they poll the table.
    pub wal: bool,
    /// Where progress is told, a line at a time.
    pub tell: fn(&str),
}
