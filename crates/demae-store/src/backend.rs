//! Which databases there are.

/// Which database serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The embedded store.
    Sqlite,
    /// The production store.
    Postgres,
}
