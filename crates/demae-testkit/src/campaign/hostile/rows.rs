//! Rows of the outbox that cannot be read, or cannot become an event, written in SQL between the bystander's.
//!
//! Tests that such a row is set aside, and that what is behind it goes on. A row that the database itself refuses is counted
//! too: a constraint is the best defence.

use std::{ops::RangeInclusive, time::Duration};

use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use tokio::time::timeout;

use super::{
    super::sql::Connection,
    actor::{Actor, Outcomes, once},
    stage::Stage,
};

/// For a connection and a statement.
const SQL_LIMIT: Duration = Duration::from_secs(30);

/// What is odd of a row, and its columns with their values in SQL.
type OddRow = (&'static str, &'static [(&'static str, &'static str)]);

#[derive(Clone)]
pub(super) struct Rows {
    url: String,
    organization: String,
}

impl Rows {
    pub(super) fn new(stage: &Stage) -> Self {
        Self {
            url: stage.url.clone(),
            organization: stage.hostile.organization.clone(),
        }
    }

    async fn write(&self, random: &mut SmallRng) -> sqlx::Result<&'static str> {
        let mut connection = Connection::open(&self.url).await?;
        let rows = if connection.is_sqlite() { SQLITE } else { POSTGRES };
        let (what, columns) = rows.choose(random).expect("there are rows");
        let organization = if random.random_ratio(1, 10) {
            uuid::Builder::from_random_bytes(random.random())
                .into_uuid()
                .to_string()
        } else {
            self.organization.clone()
        };
        connection.execute(insert(&organization, columns)).await?;
        connection.close().await?;
        Ok(what)
    }
}

impl Actor for Rows {
    const NAME: &'static str = "odd rows";
    const COPIES: usize = 1;
    const PAUSE_MS: RangeInclusive<u64> = 50..=500;

    async fn act(&self, random: &mut SmallRng) -> Outcomes {
        once(match timeout(SQL_LIMIT, self.write(random)).await {
            Ok(Ok(what)) => what.to_owned(),
            Ok(Err(sqlx::Error::Database(_))) => "refused by the database".to_owned(),
            Ok(Err(error)) => format!("not written: {error}"),
            Err(_) => "not written in time".to_owned(),
        })
    }
}

const POSTGRES: &[OddRow] = &[
    ("a payload that is no object", &[("payload", "'[1, \"two\"]'")]),
    ("a payload of null", &[("payload", "'null'")]),
    (
        "numbers that are written out",
        &[(
            "payload",
            "jsonb_build_object('n', (SELECT jsonb_agg(1e308) FROM generate_series(1, 1000)))",
        )],
    ),
    (
        "a payload of 4 MB",
        &[("payload", "jsonb_build_object('x', repeat('x', 4000000))")],
    ),
    (
        "a payload of 5000 levels",
        &[("payload", "(repeat('[', 5000) || repeat(']', 5000))::jsonb")],
    ),
    ("headers that are no object", &[("headers", "'[1]'")]),
    ("an empty name", &[("event_name", "''")]),
    ("a name of 100 kB", &[("event_name", "repeat('N', 100000)")]),
    ("a name with a line break", &[("event_name", "E'A\\r\\nB'")]),
    (
        "a reserved type",
        &[
            ("event_type", "'com.demae.endpoint.v1.disabled'"),
            ("event_name", "'ENDPOINT_DISABLED'"),
        ],
    ),
    ("a broken traceparent", &[("traceparent", "E'00-\\u00eb\\r\\n'")]),
    ("a time before all times", &[("created_at", "'-infinity'")]),
    ("a time after all times", &[("created_at", "'infinity'")]),
    ("a time of long ago", &[("created_at", "'4713-01-01 BC'")]),
    ("the year 290000", &[("created_at", "'290000-01-01'")]),
];

const SQLITE: &[OddRow] = &[
    ("a payload of bytes", &[("payload", "x'7b226e223a317d'")]),
    (
        "a payload that is not UTF-8",
        &[("payload", "x'7b226e223a22ff227d'")],
    ),
    (
        "text that is not UTF-8",
        &[("payload", "CAST(x'7b226e223a22ff227d' AS TEXT)")],
    ),
    (
        "a payload in SQLite's own form",
        &[("payload", "jsonb('{\"n\":1}')")],
    ),
    ("a payload that is a number", &[("payload", "17")]),
    ("a payload that is no object", &[("payload", "'[1, \"two\"]'")]),
    (
        "a payload of 4 MB",
        &[("payload", "json_object('x', printf('%.*c', 4000000, 'x'))")],
    ),
    ("headers of bytes", &[("headers", "x'7b7d'")]),
    ("headers that are no object", &[("headers", "'[1]'")]),
    ("a name of bytes", &[("event_name", "x'ff'")]),
    (
        "a name that is not UTF-8",
        &[("event_name", "CAST(x'ff' AS TEXT)")],
    ),
    ("an empty name", &[("event_name", "''")]),
    ("a type that is a number", &[("event_type", "17")]),
    (
        "a reserved type",
        &[
            ("event_type", "'com.demae.endpoint.v1.disabled'"),
            ("event_name", "'ENDPOINT_DISABLED'"),
        ],
    ),
    ("a broken traceparent", &[("traceparent", "x'00ff'")]),
    ("a time that is none", &[("created_at", "'yesterday'")]),
    ("a time that is a number", &[("created_at", "1e300")]),
    (
        "an id in text",
        &[(
            "id",
            "lower(hex(randomblob(4))) || '-0000-4000-8000-000000000000'",
        )],
    ),
    ("an id that is none", &[("id", "'none'")]),
];

/// An ordinary row but for some of its columns.
fn insert(organization: &str, odd: &[(&str, &str)]) -> String {
    const ORDINARY: [(&str, &str); 3] = [
        ("event_name", "'ODD'"),
        ("event_type", "'com.example.odd'"),
        ("payload", "'{\"n\": 1}'"),
    ];
    let rest = ORDINARY
        .iter()
        .filter(|(column, _)| odd.iter().all(|(other, _)| other != column));
    let (columns, values): (Vec<&str>, Vec<&str>) = odd.iter().chain(rest).copied().unzip();
    format!(
        "INSERT INTO outbox_events (organization_id, {}) VALUES ('{organization}', {})",
        columns.join(", "),
        values.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_columns_stand_for_the_ordinary_ones() {
        assert_eq!(
            insert("o", &[("payload", "x'00'"), ("headers", "1")]),
            "INSERT INTO outbox_events (organization_id, payload, headers, event_name, event_type) \
             VALUES ('o', x'00', 1, 'ODD', 'com.example.odd')"
        );
    }
}
