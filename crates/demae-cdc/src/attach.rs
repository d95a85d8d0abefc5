//! Preparing somebody else's database.
