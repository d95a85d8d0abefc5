//! Queries that are not hot, by subject.
