//! What is odd of each row, and the statement that writes it.
//!
//! Each row carries a mark in two columns at least, so that it is known again wherever it comes to lie, even if its id, its
//! payload or the end of it cannot be read.

/// What is odd of a row, and its columns with their values in SQL. `{mark}` stands for the mark.
pub(super) type OddRow = (&'static str, &'static [(&'static str, &'static str)]);

/// Before the number of a mark.
const PREFIX: &[u8] = b"odd-";
const DIGITS: usize = 8;

pub(super) const POSTGRES: &[OddRow] = &[
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
    (
        "a name of 100 kB",
        &[("event_name", "'{mark}' || repeat('N', 100000)")],
    ),
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

pub(super) const SQLITE: &[OddRow] = &[
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
pub(super) fn insert(number: u64, organization: &str, odd: &[(&str, &str)]) -> String {
    const ORDINARY: [(&str, &str); 3] = [
        ("event_name", "'ODD'"),
        ("event_type", "'com.example.{mark}'"),
        ("payload", "'{\"a\": \"{mark}\"}'"),
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
    .replace("{mark}", &format!("odd-{number:08}"))
}

/// The number of the first mark in it.
pub(super) fn number_in(bytes: &[u8]) -> Option<u64> {
    bytes.windows(PREFIX.len() + DIGITS).find_map(|window| {
        let digits = std::str::from_utf8(window.strip_prefix(PREFIX)?).ok()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_columns_stand_for_the_ordinary_ones() {
        assert_eq!(
            insert(7, "o", &[("payload", "x'00'"), ("headers", "1")]),
            "INSERT INTO outbox_events (organization_id, payload, headers, event_name, event_type) \
             VALUES ('o', x'00', 1, 'ODD', 'com.example.odd-00000007')"
        );
    }

    #[test]
    fn every_row_is_known_by_its_mark() {
        for (what, columns) in POSTGRES.iter().chain(SQLITE) {
            let statement = insert(31, "o", columns);
            assert_eq!(number_in(statement.as_bytes()), Some(31), "{what}");
        }
        assert_eq!(number_in(b"oddities odd-1 odd-0000002"), None);
    }
}
