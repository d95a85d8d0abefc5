//! The Demae binary: command line, configuration, wiring and shutdown.
fn main() {}
