//! What the two databases call things, as far as rows are seeded.

use anyhow::{Result, bail};
use sea_orm::{DatabaseConnection, DbBackend};

/// Each makes an SQL expression.
pub(super) struct Dialect {
    /// A whole number as 16 hexadecimal digits.
    pub(super) hex16: fn(&str) -> String,
    /// A whole number as 12 hexadecimal digits.
    hex12: fn(&str) -> String,
    /// A UUID from 32 hexadecimal digits.
    uuid: fn(&str) -> String,
    /// A text as JSON of the kind that the outbox holds.
    pub(super) json: fn(&str) -> String,
    /// A source of rows `s` with the column `n`, from and up to.
    pub(super) numbers: fn(u64, u64) -> String,
}

const SQLITE: Dialect = Dialect {
    hex16: |number| format!("printf('%016x', {number})"),
    hex12: |number| format!("printf('%012x', {number})"),
    uuid: |digits| format!("unhex({digits})"),
    json: |text| format!("({text})"),
    numbers: |from, to| {
        format!(
            "(WITH RECURSIVE s (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {to}) SELECT n FROM s) s"
        )
    },
};

const POSTGRES: Dialect = Dialect {
    hex16: |number| format!("lpad(to_hex({number}), 16, '0')"),
    hex12: |number| format!("lpad(to_hex({number}), 12, '0')"),
    uuid: |digits| format!("({digits})::uuid"),
    json: |text| format!("({text})::jsonb"),
    numbers: |from, to| format!("generate_series({from}::bigint, {to}::bigint) s (n)"),
};

impl Dialect {
    /// That of the database at the other end.
    pub(super) fn of(connection: &DatabaseConnection) -> Result<Self> {
        match connection.get_database_backend() {
            DbBackend::Sqlite => Ok(SQLITE),
            DbBackend::Postgres => Ok(POSTGRES),
            other => bail!("{other:?} is not a store of Demae's"),
        }
    }

    /// The id of the row with the number `s.n`. The time is that of the seeding, in microseconds, so that all later ids
    /// come after these; the number is in the last 48 bits.
    pub(super) fn id(&self, now: i64) -> String {
        let milliseconds = now / 1_000;
        let number = (self.hex12)("s.n");
        (self.uuid)(&format!("'{milliseconds:012x}70008000' || {number}"))
    }
}
