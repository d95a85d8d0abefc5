//! What the person in front of the screen sees while it takes its time. Silent when there is no screen, except for one
//! line per measurement.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// One bar: how many measurements are done, what runs now, how far it is.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For so many measurements.
    pub(crate) fn new(measurements: u64) -> Self {
        let bar = ProgressBar::new(measurements);
        // A template that does not parse would only cost the style.
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} [{pos}/{len}] {elapsed_precise} {prefix} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// A measurement begins.
    pub(crate) fn measuring(&self, what: String) {
        if self.0.is_hidden() {
            eprintln!("{what}");
        }
        self.0.set_prefix(what);
        self.0.set_message("");
    }

    /// What it does now.
    pub(crate) fn doing(&self, what: &'static str) {
        self.0.set_message(what);
    }

    /// How much has arrived.
    pub(crate) fn arrived(&self, count: u64, of: u64) {
        self.0.set_message(format!("{count} of {of} arrived"));
    }

    /// A measurement is done.
    pub(crate) fn done(&self) {
        self.0.inc(1);
    }

    /// All are.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
