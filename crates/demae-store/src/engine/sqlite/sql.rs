//! The statements.

use sea_orm::sqlx::AssertSqlSafe;

/// A statement over any number of rows: the text before `VALUES`, the number of columns, the text after.
pub(super) type MultiRow = (&'static str, usize, &'static str);

/// The text of `statement` for so many rows.
pub(super) fn text((before, columns, after): MultiRow, rows: usize) -> AssertSqlSafe<String> {
    let row = format!("({})", vec!["?"; columns].join(","));
    AssertSqlSafe(format!(
        "{before} VALUES {} {after}",
        vec![row.as_str(); rows].join(",")
    ))
}

/// Milliseconds are cut off, not rounded: `webhook-id` holds the second.
pub(super) const APPEND: MultiRow = (
    "INSERT INTO outbox_events
         (id, organization_id, application_id, event_name, event_type, raw, raw_headers, traceparent, created_at)
     SELECT column1, column2, column3, column4, column5, column6, column7, column8,
            strftime('%Y-%m-%d %H:%M:%f', column9 / 1000 / 1e3, 'unixepoch') FROM (",
    9,
    ") WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.event_id = column1)
     ON CONFLICT (id) DO NOTHING RETURNING id",
);

/// Rows of the outbox in the order of `position`, of which the text after it tells the first.
macro_rules! read_outbox {
    ($page:literal) => {
        concat!(
            "SELECT o.position, p.size,
                    CASE typeof(id) WHEN 'blob' THEN id ELSE unhex(id, '-') END AS id,
                    CASE typeof(organization_id) WHEN 'blob' THEN organization_id ELSE unhex(organization_id, '-') END
                        AS organization_id,
                    CASE typeof(application_id) WHEN 'text' THEN COALESCE(unhex(application_id, '-'), x'')
                        ELSE application_id END AS application_id,
                    CASE WHEN size <= ?3 THEN CAST(event_name AS TEXT) END AS event_name,
                    CASE WHEN size <= ?3 THEN CAST(event_type AS TEXT) END AS event_type,
                    CASE WHEN size <= ?3 THEN CAST(COALESCE(raw, payload) AS TEXT) END AS payload,
                    CASE WHEN size <= ?3 THEN CAST(COALESCE(raw_headers, headers) AS TEXT) END AS headers,
                    CASE WHEN size <= ?3 THEN CAST(traceparent AS TEXT) END AS traceparent,
                    CAST(ROUND(unixepoch(created_at, 'subsec') * 1000) AS INTEGER) * 1000 AS created_at
             FROM (SELECT position, size,
                          SUM(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS bytes_before
                   FROM (SELECT position,
                                octet_length(event_name) + octet_length(event_type)
                                + COALESCE(octet_length(traceparent), 0)
                                + COALESCE(octet_length(raw), octet_length(payload), 0)
                                + COALESCE(octet_length(raw_headers), octet_length(headers), 0) AS size
                         FROM ",
            $page,
            " ORDER BY position LIMIT ?1)) p
             CROSS JOIN outbox_events o ON o.position = p.position
             WHERE p.bytes_before < ?2"
        )
    };
}

/// `?1` rows or `?2` bytes, whichever ends first, but one row at least. Of a row of more than `?3` bytes nothing is read
/// but its size, which SQLite knows without reading the text.
///
/// Other programs may write ids as text, where the reader wants bytes, and texts as bytes. A text that is no id must not
/// become NULL, which names the default application.
pub(super) const READ_OUTBOX: &str = read_outbox!("outbox_events");

/// The same of the organization with the bytes `?4`, or the text `?5`.
pub(super) const READ_OUTBOX_OF: &str = read_outbox!(
    "(SELECT * FROM outbox_events WHERE organization_id = ?4
      UNION ALL SELECT * FROM outbox_events WHERE organization_id = ?5)"
);

/// The organizations in the outbox after `?1`, as they are written there, at most `?2`: a skip scan, one index probe for
/// each. Texts come before bytes.
pub(super) const WAITING_ORGANIZATIONS: &str = "
    WITH RECURSIVE waiting (organization_id) AS (
        SELECT * FROM (SELECT MIN(organization_id) FROM outbox_events WHERE organization_id > ?1)
        UNION ALL
        SELECT (SELECT MIN(organization_id) FROM outbox_events WHERE organization_id > w.organization_id)
        FROM waiting w WHERE w.organization_id IS NOT NULL
    )
    SELECT typeof(organization_id) = 'text' AS is_text,
           CASE typeof(organization_id) WHEN 'blob' THEN organization_id ELSE unhex(organization_id, '-') END AS id
    FROM waiting WHERE organization_id IS NOT NULL LIMIT ?2";

/// A row for people to look at, as bytes, its long texts cut at `?3`; without payload and headers if it has more than `?2`
/// bytes.
pub(super) const DESCRIBE: &str = "
    SELECT CASE typeof(id) WHEN 'blob' THEN hex(id) ELSE id END AS id,
           CASE typeof(organization_id) WHEN 'blob' THEN hex(organization_id) ELSE organization_id END
               AS organization_id,
           CASE typeof(application_id) WHEN 'blob' THEN hex(application_id) ELSE application_id END AS application_id,
           substr(CAST(event_name AS BLOB), 1, 1000) AS event_name,
           substr(CAST(event_type AS BLOB), 1, 1000) AS event_type,
           CASE WHEN size <= ?2 THEN substr(CAST(COALESCE(raw, payload) AS BLOB), 1, ?3) END AS payload,
           CASE WHEN size <= ?2 THEN substr(CAST(COALESCE(raw_headers, headers) AS BLOB), 1, ?3) END AS headers,
           substr(CAST(traceparent AS BLOB), 1, 1000) AS traceparent,
           substr(CAST(created_at AS BLOB), 1, 1000) AS created_at, size,
           CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now
    FROM (SELECT *, COALESCE(octet_length(event_name), 0) + COALESCE(octet_length(event_type), 0)
                    + COALESCE(octet_length(raw), octet_length(payload), 0)
                    + COALESCE(octet_length(raw_headers), octet_length(headers), 0) AS size
          FROM outbox_events WHERE position = ?1)";

pub(super) const REJECT: &str = "
    INSERT INTO rejected_events (id, source, reason, body, body_size, received_at) VALUES (?, ?, ?, ?, ?, ?)";

pub(super) const TAKE_OUT_PLACE: &str = "DELETE FROM outbox_events WHERE position = ?";

pub(super) const TAKE_OUT: MultiRow = ("DELETE FROM outbox_events WHERE id IN (", 1, ") RETURNING 1");

pub(super) const MESSAGES: MultiRow = (
    "INSERT INTO messages
         (event_id, organization_id, application_id, event_name, event_type, payload, headers, traceparent, created_at)",
    9,
    "ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
);

pub(super) const DELIVERIES: MultiRow = (
    "INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                             manual, delivered_name, created_at)
     SELECT column1, column2, column3, column4, 0, 0, column5, column6, column7, false, column8, column9 FROM (",
    9,
    ")",
);

pub(super) const CLAIM: &str = "
    SELECT d.rowid AS place, d.endpoint_id, d.due_at, d.attempts, d.step, d.manual, d.resume_state, d.resume_due_at,
           d.delivered_name, m.event_id AS id, m.organization_id, m.application_id, m.event_name, m.event_type, m.payload,
           m.headers, m.traceparent, m.created_at, m.expunged_at
    FROM deliveries d LEFT JOIN messages m ON m.event_id = d.event_id
    WHERE d.endpoint_id = ? AND d.state = 0 AND d.due_at <= ? ORDER BY d.due_at LIMIT ?";

/// Gives a delivery up that cannot be made, with an entry in the history that says why: first the entry.
pub(super) const GIVE_UP: [&str; 2] = [
    "INSERT INTO attempts
         (organization_id, application_id, id, endpoint_id, event_id, event_name, number, manual, status, url, error_kind,
          error_detail, request_headers, response_headers, response_body, duration_ms, started_at)
     SELECT organization_id,
            COALESCE((SELECT e.application_id FROM endpoints e WHERE e.id = d.endpoint_id), d.organization_id),
            ?2, endpoint_id, event_id, ?4, ?3, false, ?7, '', ?8, ?5, '{}', '{}', '', 0, ?6
     FROM deliveries d WHERE d.rowid = ?1",
    "UPDATE deliveries SET state = ?3, attempts = ?2, lease = NULL, worker_id = NULL, manual = false, resume_state = NULL,
                           resume_due_at = NULL WHERE rowid = ?1",
];

pub(super) const LEASE: MultiRow = (
    "UPDATE deliveries SET state = 1, due_at = l.column4, lease = l.column3, worker_id = l.column5 FROM (",
    5,
    ") l WHERE deliveries.endpoint_id = l.column1 AND deliveries.event_id = l.column2",
);

/// How many of the deliveries that [`CLAIM`] would take have less than so many bytes of payloads before them.
pub(super) const FITTING: &str = "
    SELECT COUNT(*) FROM (
        SELECT SUM(bytes) OVER (ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before FROM (
            SELECT (SELECT octet_length(m.payload) FROM messages m WHERE m.event_id = d.event_id) AS bytes
            FROM deliveries d
            WHERE d.endpoint_id = ? AND d.state = 0 AND d.due_at <= ? ORDER BY d.due_at LIMIT ?
        )
    ) WHERE bytes_before < ? OR bytes_before IS NULL";

/// A skip scan: one index probe per endpoint that has anything waiting.
pub(super) const WAITING_LANES: &str = "
    WITH RECURSIVE lanes (endpoint_id) AS (
        SELECT * FROM (SELECT MIN(endpoint_id) FROM deliveries WHERE state = 0)
        UNION ALL
        SELECT (SELECT MIN(endpoint_id) FROM deliveries WHERE state = 0 AND endpoint_id > l.endpoint_id)
        FROM lanes l WHERE l.endpoint_id IS NOT NULL
    )
    SELECT endpoint_id, (SELECT MIN(due_at) FROM deliveries d WHERE d.state = 0 AND d.endpoint_id = l.endpoint_id)
    FROM lanes l WHERE endpoint_id IS NOT NULL";

/// Which of the leases are still the ones in the table.
pub(super) const HELD: MultiRow = (
    "SELECT column1 FROM (",
    3,
    ") a CROSS JOIN deliveries d ON d.endpoint_id = column2 AND d.event_id = column3 AND d.lease = column1",
);

pub(super) const MOVE: MultiRow = (
    "UPDATE deliveries
     SET state = a.column4, due_at = COALESCE(a.column5, due_at), attempts = a.column6, step = a.column7,
         lease = NULL, worker_id = NULL, manual = false, resume_state = NULL, resume_due_at = NULL
     FROM (",
    7,
    ") a WHERE deliveries.endpoint_id = a.column2 AND deliveries.event_id = a.column3 AND deliveries.lease = a.column1",
);

pub(super) const KEEP: MultiRow = (
    "INSERT INTO attempts
         (organization_id, application_id, id, endpoint_id, event_id, event_name, number, manual, status,
          next_attempt_at, url, http_status, error_kind, error_detail, request_headers, response_headers, response_body,
          duration_ms, started_at)",
    19,
    "ON CONFLICT DO NOTHING",
);

pub(super) const RELEASE: MultiRow = (
    "UPDATE deliveries SET state = 0, due_at = r.column4, lease = NULL, worker_id = NULL FROM (",
    4,
    ") r WHERE deliveries.endpoint_id = r.column2 AND deliveries.event_id = r.column3 AND deliveries.lease = r.column1",
);

pub(super) const GIVE_BACK: MultiRow = (
    "UPDATE deliveries SET state = 0, due_at = g.column3, lease = NULL, worker_id = NULL FROM (",
    3,
    ") g WHERE deliveries.state = 1 AND deliveries.due_at = g.column1 AND deliveries.worker_id = g.column2 RETURNING 1",
);

pub(super) const RECOVER_LEASES: &str = "
    UPDATE deliveries SET state = 0, due_at = ?1, lease = NULL, worker_id = NULL
    WHERE rowid IN (
        SELECT rowid FROM deliveries l
        WHERE state = 1 AND (due_at < ?1 OR NOT EXISTS
            (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.heartbeat_at >= ?2))
        LIMIT ?3
    )";

pub(super) const HEARTBEAT: &str = "
    INSERT INTO workers (id, started_at, heartbeat_at) VALUES (?1, ?2, ?2)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = ?2";

pub(super) const BACKLOG: &str = "
    SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_events LIMIT ?1)) AS unrouted,
           (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT ?1)) AS waiting,
           (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 1 LIMIT ?1)) AS leased,
           (SELECT CAST(ROUND(unixepoch(created_at, 'subsec') * 1000) AS INTEGER) * 1000
            FROM outbox_events ORDER BY position LIMIT 1) AS oldest_unrouted";
