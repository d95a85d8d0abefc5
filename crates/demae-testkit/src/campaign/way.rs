//! The ways of an event: how it is written, and where it arrives.

/// An endpoint that takes everything, and one that refuses some events when they come for the first time.
pub(super) const PATHS: [&str; 2] = ["/steady", "/flaky"];

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Http,
    Sql,
}
