//! The kit as a surface sees it.

mod throw_away;
