//! What a column can hold.

use sea_orm::sqlx::{Database, Decode, Type};

/// What a column of database `D` can hold.
pub(super) trait Readable<'r, D: Database>: Decode<'r, D> + Type<D> {}

impl<'r, D: Database, T: Decode<'r, D> + Type<D>> Readable<'r, D> for T {}
