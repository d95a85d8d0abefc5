//! The statements, each of one text whatever the number of rows.
//!
//! Their plans are made once per session and kept, by a planner that takes a table for as large as it is just then: one
//! that is empty today is cheapest read from end to end, and the plan that does so is still in use when it has a million
//! rows. So no statement leaves a choice. What is looked up per row is
//!
//! - a subquery, scalar or `LATERAL`, with a `LIMIT`: never turned into a join. It asks for the first row *from* the key
//!   on, which only the index that begins with the key can answer without sorting: of an empty table all indices look
//!   alike, and one that has the key as its third column would do as well. (No `EXISTS`: it may be answered by reading
//!   the whole table into a hash.) Or
//! - in an `UPDATE`, whose table cannot be one, compared by `= ANY (ARRAY[…])` in the first column of the index: it can be
//!   searched by that, and no merge can use it, for whose sake the planner considers reading an index from end to end.
//!   (Not in a later column: there the planner may leave it out of the search.)
//!
//! `plans` asks the planner itself, over tables of all sizes.

pub(super) const APPEND: &str = "
    INSERT INTO outbox_events
        (id, organization_id, application_id, event_name, event_type, raw, raw_headers, traceparent, created_at)
    SELECT e.id, e.organization_id, e.application_id, e.event_name, e.event_type, e.raw, e.raw_headers, e.traceparent,
           to_timestamp(e.created_at / 1e6)
    FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::bigint[])
         WITH ORDINALITY
         AS e (id, organization_id, application_id, event_name, event_type, raw, raw_headers, traceparent, created_at,
               place)
    WHERE (SELECT m.event_id FROM messages m WHERE m.event_id >= e.id ORDER BY m.event_id LIMIT 1) IS DISTINCT FROM e.id
    ORDER BY e.place
    ON CONFLICT (id) DO NOTHING
    RETURNING id";

/// The columns of a row of the outbox. Of a row of more bytes than the parameter nothing is read but its size. `size` is a
/// stored column, so nothing large is unpacked to be counted.
macro_rules! outbox_columns {
    ($limit:literal) => {
        concat!(
            "SELECT position, size::bigint AS size, id, organization_id, application_id,
                    CASE WHEN size <= ",
            $limit,
            " THEN event_name END AS event_name,
                    CASE WHEN size <= ",
            $limit,
            " THEN event_type END AS event_type,
                    CASE WHEN size <= ",
            $limit,
            " THEN COALESCE(raw, payload::text) END AS payload,
                    CASE WHEN size <= ",
            $limit,
            " THEN COALESCE(raw_headers, headers::text) END AS headers,
                    CASE WHEN size <= ",
            $limit,
            " THEN traceparent END AS traceparent,
                    CASE WHEN created_at BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
                         THEN (EXTRACT(EPOCH FROM created_at) * 1000000)::bigint END AS created_at "
        )
    };
}

/// `$2` rows or `$3` bytes, whichever ends first, but one row at least.
pub(super) const READ_OUTBOX: &str = concat!(
    outbox_columns!("$4"),
    "FROM (SELECT *, SUM(size) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size AS bytes_before
           FROM (SELECT * FROM outbox_events WHERE position > $1 ORDER BY position LIMIT $2) page) counted
     WHERE bytes_before < $3"
);

/// `$6` rows of each of `$5` organizations, `$7` rows or `$8` bytes of all, one row at least, behind the position `$4`.
///
/// The organizations are those between `$1[n]` and `$2[n]`, both left out: a skip scan, one index probe for each that has
/// anything waiting. One that is left out is not touched, nor are its dead rows, which may be many.
pub(super) const READ_OUTBOX_OF_OTHERS: &str = concat!(
    outbox_columns!("$3"),
    "FROM (SELECT taken.*, SUM(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS bytes_before FROM (
         SELECT o.* FROM (
             SELECT waiting.organization_id
             FROM UNNEST($1::uuid[], $2::uuid[]) AS gap (after, before) CROSS JOIN LATERAL (
                 WITH RECURSIVE found AS (
                     (SELECT organization_id FROM outbox_events
                      WHERE organization_id > gap.after AND organization_id < gap.before
                      ORDER BY organization_id, position LIMIT 1)
                     UNION ALL
                     SELECT n.organization_id FROM found f CROSS JOIN LATERAL (
                         SELECT organization_id FROM outbox_events
                         WHERE organization_id > f.organization_id AND organization_id < gap.before
                         ORDER BY organization_id, position LIMIT 1
                     ) n
                 )
                 SELECT organization_id FROM found
             ) waiting
             LIMIT $5
         ) organization CROSS JOIN LATERAL (
             SELECT * FROM outbox_events e
             WHERE (e.organization_id, e.position) > (organization.organization_id, $4)
               AND e.organization_id <= organization.organization_id
             ORDER BY e.organization_id, e.position LIMIT $6
         ) o
         LIMIT $7
     ) taken) counted
     WHERE bytes_before < $8"
);

/// A row for people to look at, all of it as text, its long texts cut at `$3`; without payload and headers if it has more
/// than `$2` bytes.
pub(super) const DESCRIBE: &str = "
    SELECT id::text AS id, organization_id::text AS organization_id, application_id::text AS application_id,
           left(event_name, 1000) AS event_name, left(event_type, 1000) AS event_type,
           CASE WHEN size <= $2 THEN left(COALESCE(raw, payload::text), $3) END AS payload,
           CASE WHEN size <= $2 THEN left(COALESCE(raw_headers, headers::text), $3) END AS headers,
           left(traceparent, 1000) AS traceparent, created_at::text AS created_at, size::bigint AS size,
           (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint AS now
    FROM outbox_events WHERE position = $1 FOR UPDATE";

pub(super) const REJECT: &str = "
    INSERT INTO rejected_events (id, source, reason, body, body_size, received_at) VALUES ($1, $2, $3, $4, $5, $6)";

pub(super) const TAKE_OUT_PLACE: &str = "DELETE FROM outbox_events WHERE position = $1";

/// `IS TRUE` keeps the planner from turning `IN` into a join, which without hash joins would compare every delivery
/// with every message; like this it looks them up in a hash table.
pub(super) const ROUTE: &str = "
    WITH new AS (
        INSERT INTO messages
            (event_id, organization_id, application_id, event_name, event_type, payload, headers, traceparent, created_at)
        SELECT * FROM UNNEST
            ($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
             $9::bigint[])
        ON CONFLICT (event_id) DO NOTHING
        RETURNING event_id
    ), fan_out AS (
        INSERT INTO deliveries (endpoint_id, event_id, organization_id, state, attempts, step, due_at, lease, worker_id,
                                manual, delivered_name, created_at)
        SELECT d.endpoint_id, d.event_id, d.organization_id,
               CASE WHEN d.lease IS NULL THEN 0 ELSE 1 END, 0, 0,
               CASE WHEN d.lease IS NULL THEN $15::bigint ELSE $16::bigint END,
               d.lease, CASE WHEN d.lease IS NULL THEN NULL ELSE $17::uuid END,
               false, d.delivered_name, $15
        FROM UNNEST($10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::text[])
             AS d (endpoint_id, event_id, organization_id, lease, delivered_name)
        WHERE (d.event_id IN (SELECT event_id FROM new)) IS TRUE
    ), taken_out AS (
        DELETE FROM outbox_events WHERE id = ANY ($1)
    )
    SELECT event_id FROM new";

pub(super) const TAKE_OUT: &str = "DELETE FROM outbox_events WHERE id = ANY ($1::uuid[])";

pub(super) const CLAIM: &str = "
    SELECT d.endpoint_id, d.event_id, d.due_at, d.attempts, d.step, d.manual, d.resume_state, d.resume_due_at, d.delivered_name,
           m.event_id AS id, m.organization_id, m.application_id, m.event_name, m.event_type, m.payload, m.headers,
           m.traceparent, m.created_at, m.expunged_at
    FROM UNNEST($1::uuid[], $2::int[]) AS l (endpoint_id, most)
    CROSS JOIN LATERAL (
        SELECT * FROM (
            SELECT due.*, SUM(bytes) OVER (ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before FROM (
                SELECT w.*, (SELECT octet_length(f.payload)::bigint FROM messages f
                             WHERE f.event_id >= w.event_id ORDER BY f.event_id LIMIT 1) AS bytes
                FROM deliveries w
                WHERE w.endpoint_id = l.endpoint_id AND w.state = 0 AND w.due_at <= $3
                ORDER BY w.due_at LIMIT l.most
                FOR UPDATE OF w SKIP LOCKED
            ) due
        ) counted WHERE bytes_before < $4 OR bytes_before IS NULL
    ) d
    LEFT JOIN LATERAL (SELECT * FROM messages f WHERE f.event_id >= d.event_id ORDER BY f.event_id LIMIT 1) m
        ON m.event_id = d.event_id";

/// Gives a delivery up that cannot be made, with an entry in the history that says why.
pub(super) const GIVE_UP: &str = "
    WITH failed AS (
        UPDATE deliveries d SET state = $8, attempts = $4, lease = NULL, worker_id = NULL, manual = false,
                                resume_state = NULL, resume_due_at = NULL
        WHERE d.endpoint_id = $1 AND d.event_id = $2
        RETURNING d.organization_id, d.endpoint_id, d.event_id
    )
    INSERT INTO attempts
        (organization_id, application_id, id, endpoint_id, event_id, event_name, number, manual, status, url, error_kind,
         error_detail, request_headers, response_headers, response_body, duration_ms, started_at)
    SELECT organization_id,
           COALESCE((SELECT e.application_id FROM endpoints e WHERE e.id = f.endpoint_id), f.organization_id),
           $3, endpoint_id, event_id, $5, $4, false, $9, '', $10, $6, '{}', '{}', '', 0, $7
    FROM failed f";

pub(super) const LEASE: &str = "
    UPDATE deliveries d SET state = 1, due_at = $4, lease = l.lease, worker_id = $5
    FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) AS l (endpoint_id, event_id, lease)
    WHERE d.endpoint_id = ANY (ARRAY[l.endpoint_id]) AND d.event_id = l.event_id";

/// A skip scan: one index probe per endpoint that has anything waiting.
pub(super) const WAITING_LANES: &str = "
    WITH RECURSIVE lanes AS (
        (SELECT endpoint_id, due_at FROM deliveries WHERE state = 0 ORDER BY endpoint_id, due_at LIMIT 1)
        UNION ALL
        SELECT n.endpoint_id, n.due_at FROM lanes l CROSS JOIN LATERAL (
            SELECT endpoint_id, due_at FROM deliveries
            WHERE state = 0 AND endpoint_id > l.endpoint_id ORDER BY endpoint_id, due_at LIMIT 1
        ) n
    )
    SELECT endpoint_id, due_at FROM lanes";

pub(super) const RECORD: &str = "
    WITH done AS (
        SELECT * FROM UNNEST
            ($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::int[], $8::bool[],
             $9::smallint[], $10::smallint[], $11::bigint[], $12::int[], $13::text[], $14::int[], $15::text[],
             $16::text[], $17::text[], $18::text[], $19::text[], $20::int[], $21::bigint[])
        AS a (id, organization_id, application_id, endpoint_id, event_id, event_name, number, manual, status,
              state, next_attempt_at, step, url, http_status, error_kind, error_detail,
              request_headers, response_headers, response_body, duration_ms, started_at)
    ), moved AS (
        UPDATE deliveries d
        SET state = a.state, due_at = COALESCE(a.next_attempt_at, d.due_at), attempts = a.number, step = a.step,
            lease = NULL, worker_id = NULL, manual = false, resume_state = NULL, resume_due_at = NULL
        FROM done a
        WHERE d.endpoint_id = ANY (ARRAY[a.endpoint_id]) AND d.event_id = a.event_id AND d.lease = a.id
        RETURNING a.id
    ), kept AS (
        INSERT INTO attempts
            (organization_id, application_id, id, endpoint_id, event_id, event_name, number, manual, status,
             next_attempt_at, url, http_status, error_kind, error_detail, request_headers, response_headers,
             response_body, duration_ms, started_at)
        SELECT organization_id, application_id, id, endpoint_id, event_id, event_name, number, manual, status,
               next_attempt_at, url, http_status, error_kind, error_detail, request_headers, response_headers,
               response_body, duration_ms, started_at
        FROM done
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM moved";

pub(super) const RELEASE: &str = "
    UPDATE deliveries d SET state = 0, due_at = r.due_at, lease = NULL, worker_id = NULL
    FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[]) AS r (lease, endpoint_id, event_id, due_at)
    WHERE d.endpoint_id = ANY (ARRAY[r.endpoint_id]) AND d.event_id = r.event_id AND d.lease = r.lease";

pub(super) const GIVE_BACK: &str = "
    UPDATE deliveries d SET state = 0, due_at = $1, lease = NULL, worker_id = NULL
    FROM UNNEST($3::bigint[]) AS g (lease_end)
    WHERE d.state = 1 AND d.due_at = ANY (ARRAY[g.lease_end]) AND d.worker_id = $2::uuid";

pub(super) const RECOVER_LEASES: &str = "
    UPDATE deliveries d SET state = 0, due_at = $1, lease = NULL, worker_id = NULL
    FROM (
        SELECT endpoint_id, event_id FROM deliveries l
        WHERE state = 1 AND (due_at < $1 OR COALESCE(
            (SELECT w.heartbeat_at FROM workers w WHERE w.id = l.worker_id) < $2, true))
        LIMIT $3 FOR UPDATE SKIP LOCKED
    ) lapsed
    WHERE d.endpoint_id = ANY (ARRAY[lapsed.endpoint_id]) AND d.event_id = lapsed.event_id";

pub(super) const HEARTBEAT: &str = "
    INSERT INTO workers (id, started_at, heartbeat_at) VALUES ($1, $2, $2)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = $2";

pub(super) const BACKLOG: &str = "
    SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM outbox_events LIMIT $1) o) AS unrouted,
           (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 0 LIMIT $1) w) AS waiting,
           (SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE state = 1 LIMIT $1) l) AS leased,
           (SELECT CASE WHEN created_at BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
                        THEN (EXTRACT(EPOCH FROM created_at) * 1000000)::bigint ELSE 0 END
            FROM outbox_events ORDER BY position LIMIT 1) AS oldest_unrouted";
