-- Tables with a leading underscore may change with any version; the views at the end are the contract.

CREATE TABLE _services (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    environment TEXT NOT NULL,
    UNIQUE (name, version, environment)
) STRICT;

-- A fresh service.instance.id makes a new resource with every process: last_used_unix_s lets unused ones go.
CREATE TABLE _resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    service_id INTEGER NOT NULL REFERENCES _services (id),
    attributes TEXT NOT NULL,
    schema_url TEXT NOT NULL,
    last_used_unix_s INTEGER NOT NULL
) STRICT;

CREATE TABLE _scopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    schema_url TEXT NOT NULL,
    attributes TEXT NOT NULL
) STRICT;

-- Past 2,000 operations of a service the others count as one, is_overflow = 1; their spans carry their own name.
CREATE TABLE _operations (
    id INTEGER PRIMARY KEY,
    service_id INTEGER NOT NULL REFERENCES _services (id),
    name TEXT NOT NULL,
    is_overflow INTEGER NOT NULL DEFAULT 0,
    UNIQUE (service_id, name)
) STRICT;
CREATE INDEX _operations_by_name ON _operations (name);

-- AUTOINCREMENT: a cursor over the ids must never meet a reused one. No unique key on (trace_id, span_id):
-- random.seed(0) repeats ids, and what was resent is stored again rather than lost.
-- What is absent is empty, not NULL: Python's sqlite3 asks its adapters about every None (and bytes and bool), which
-- made a row of these cost 8.4 µs to bind and insert instead of 2.0 (measured).
-- duration_nano stands for itself: end less start may not be it, where a clock ran backwards.
CREATE TABLE _spans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_span_id BLOB NOT NULL,
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    name TEXT NOT NULL,
    resource_id INTEGER NOT NULL REFERENCES _resources (id),
    scope_id INTEGER NOT NULL REFERENCES _scopes (id),
    kind INTEGER NOT NULL,
    start_unix_nano INTEGER NOT NULL,
    end_unix_nano INTEGER NOT NULL,
    duration_nano INTEGER NOT NULL,
    status_code INTEGER NOT NULL,
    status_message TEXT NOT NULL,
    is_error INTEGER NOT NULL,
    is_slow INTEGER NOT NULL,
    error_type TEXT NOT NULL,
    trace_state TEXT NOT NULL,
    flags INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    events TEXT NOT NULL,
    links TEXT NOT NULL,
    dropped_attributes_count INTEGER NOT NULL,
    dropped_events_count INTEGER NOT NULL,
    dropped_links_count INTEGER NOT NULL,
    altered TEXT NOT NULL,
    otlp BLOB
) STRICT;
-- Lists go by end, so that their indexes append at the right edge; trace ids of ours begin with their time.
CREATE INDEX _spans_by_trace ON _spans (trace_id, span_id);
CREATE INDEX _spans_by_operation ON _spans (operation_id, end_unix_nano);
CREATE INDEX _spans_by_end ON _spans (end_unix_nano);
CREATE INDEX _spans_by_error ON _spans (end_unix_nano) WHERE is_error = 1;
CREATE INDEX _spans_by_slow ON _spans (end_unix_nano) WHERE is_slow = 1;
CREATE INDEX _spans_by_operation_error ON _spans (operation_id, end_unix_nano) WHERE is_error = 1;
CREATE INDEX _spans_by_operation_slow ON _spans (operation_id, end_unix_nano) WHERE is_slow = 1;
-- What makes a trace worth keeping past the retention of ordinary spans.
CREATE INDEX _spans_worth_keeping ON _spans (trace_id) WHERE is_error + is_slow > 0;

-- From which row id on spans arrived in which stretch of time: what retention goes by.
CREATE TABLE _arrivals (
    first_span_id INTEGER PRIMARY KEY,
    unix_s INTEGER NOT NULL
) STRICT;
CREATE INDEX _arrivals_by_time ON _arrivals (unix_s, first_span_id);

-- A sum of nanoseconds can pass 2^63: it is kept as seconds and nanoseconds.
CREATE TABLE _rollups (
    resolution_s INTEGER NOT NULL,
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    start_unix_s INTEGER NOT NULL,
    count INTEGER NOT NULL,
    error_count INTEGER NOT NULL,
    slow_count INTEGER NOT NULL,
    sum_s INTEGER NOT NULL,
    sum_nano INTEGER NOT NULL,
    self_s INTEGER NOT NULL,
    self_nano INTEGER NOT NULL,
    min_nano INTEGER NOT NULL,
    max_nano INTEGER NOT NULL,
    first_unix_nano INTEGER NOT NULL,
    last_unix_nano INTEGER NOT NULL,
    histogram BLOB NOT NULL,
    PRIMARY KEY (resolution_s, operation_id, start_unix_s)
) STRICT, WITHOUT ROWID;

CREATE TABLE _edges (
    hour_unix_s INTEGER NOT NULL,
    caller_id INTEGER NOT NULL REFERENCES _operations (id),
    callee_id INTEGER NOT NULL REFERENCES _operations (id),
    count INTEGER NOT NULL,
    sum_s INTEGER NOT NULL,
    sum_nano INTEGER NOT NULL,
    PRIMARY KEY (hour_unix_s, caller_id, callee_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE _error_groups (
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    error_type TEXT NOT NULL,
    message TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_unix_nano INTEGER NOT NULL,
    last_unix_nano INTEGER NOT NULL,
    PRIMARY KEY (operation_id, error_type, message)
) STRICT, WITHOUT ROWID;

-- One row for each process that records; those silent for an hour are folded into the row 'past'.
CREATE TABLE _health (
    process TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    updated_unix_s INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    sampled_out INTEGER NOT NULL,
    pruned INTEGER NOT NULL,
    forwarded INTEGER NOT NULL,
    altered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE _drops (
    process TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (process, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE _instruments (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    resource_id INTEGER NOT NULL REFERENCES _resources (id),
    scope_id INTEGER NOT NULL REFERENCES _scopes (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    unit TEXT NOT NULL,
    description TEXT NOT NULL,
    temporality INTEGER NOT NULL,
    is_monotonic INTEGER NOT NULL
) STRICT;
CREATE INDEX _instruments_by_name ON _instruments (name);

CREATE TABLE _points (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instrument_id INTEGER NOT NULL REFERENCES _instruments (id),
    arrived_unix_s INTEGER NOT NULL,
    start_unix_nano INTEGER NOT NULL,
    time_unix_nano INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX _points_by_instrument ON _points (instrument_id, time_unix_nano);
CREATE INDEX _points_by_time ON _points (time_unix_nano);

-- Small facts of the file itself, such as how far retention has come.
CREATE TABLE _facts (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The views. CROSS JOIN keeps the spans first, in the order of their index. Behind the readable columns stand the raw ones: only a filter on those uses an index.

CREATE VIEW metrics AS
SELECT coalesce(nullif(s.name, ''), o.name) AS operation,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.end_unix_nano / 1e9, 'unixepoch') AS timestamp,
    round(s.duration_nano / 1e6, 6) AS duration,
    s.is_error AS error,
    s.is_slow,
    nullif(s.error_type, '') AS error_type,
    s.operation_id,
    s.end_unix_nano
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id;

CREATE VIEW spans AS
SELECT s.id,
    coalesce(nullif(s.name, ''), o.name) AS name,
    v.name AS service,
    round(s.duration_nano / 1e6, 6) AS duration_ms,
    CASE s.status_code WHEN 0 THEN 'unset' WHEN 1 THEN 'ok' WHEN 2 THEN 'error' ELSE s.status_code END AS status,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.start_unix_nano / 1e9, 'unixepoch') AS start_time,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.end_unix_nano / 1e9, 'unixepoch') AS end_time,
    CASE s.kind WHEN 1 THEN 'internal' WHEN 2 THEN 'server' WHEN 3 THEN 'client' WHEN 4 THEN 'producer'
        WHEN 5 THEN 'consumer' ELSE 'unspecified' END AS kind,
    lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    nullif(lower(hex(s.parent_span_id)), '') AS parent_span_id,
    s.is_error,
    s.is_slow,
    nullif(s.error_type, '') AS error_type,
    nullif(s.status_message, '') AS status_message,
    iif(s.attributes = '', '{}', s.attributes) AS attributes,
    iif(s.events = '', 0, json_array_length(s.events)) AS event_count,
    iif(s.links = '', 0, json_array_length(s.links)) AS link_count,
    c.name AS scope,
    nullif(s.altered, '') AS altered,
    s.operation_id,
    s.start_unix_nano,
    s.end_unix_nano,
    s.duration_nano
FROM _spans s
    CROSS JOIN _operations o ON o.id = s.operation_id
    CROSS JOIN _services v ON v.id = o.service_id
    CROSS JOIN _scopes c ON c.id = s.scope_id;

-- The ids as they are stored: what to filter on to find a trace through its index. Apart from spans, whose rows
-- would not print.
CREATE VIEW span_keys AS SELECT id, trace_id AS trace_id_bytes, span_id AS span_id_bytes FROM _spans;

CREATE VIEW events AS
SELECT json_extract(e.value, '$.name') AS name,
    strftime('%Y-%m-%dT%H:%M:%fZ', (json_extract(e.value, '$.time_unix_nano')) / 1e9, 'unixepoch') AS time,
    coalesce(nullif(s.name, ''), o.name) AS span_name,
    lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    json_extract(e.value, '$.attributes') AS attributes,
    json_extract(e.value, '$.time_unix_nano') AS time_unix_nano,
    s.id AS span_row_id
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id, json_each(nullif(s.events, '')) e;

CREATE VIEW links AS
SELECT lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    coalesce(nullif(s.name, ''), o.name) AS span_name,
    json_extract(l.value, '$.trace_id') AS linked_trace_id,
    json_extract(l.value, '$.span_id') AS linked_span_id,
    json_extract(l.value, '$.attributes') AS attributes,
    s.id AS span_row_id
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id, json_each(nullif(s.links, '')) l;

CREATE VIEW traces AS
SELECT lower(hex(s.trace_id)) AS trace_id,
    max(CASE WHEN s.parent_span_id = x'' THEN coalesce(nullif(s.name, ''), o.name) END) AS root,
    count(*) AS span_count,
    sum(s.is_error) AS error_count,
    sum(s.is_slow) AS slow_count,
    round((max(s.end_unix_nano) - min(s.start_unix_nano)) / 1e6, 6) AS duration_ms,
    strftime('%Y-%m-%dT%H:%M:%fZ', min(s.start_unix_nano) / 1e9, 'unixepoch') AS start_time,
    min(s.start_unix_nano) AS start_unix_nano
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id
GROUP BY s.trace_id;

CREATE VIEW rollups AS
SELECT o.name AS operation,
    v.name AS service,
    v.version AS service_version,
    v.environment,
    r.resolution_s,
    strftime('%Y-%m-%dT%H:%M:%SZ', r.start_unix_s, 'unixepoch') AS start_time,
    r.count,
    r.error_count,
    r.slow_count,
    round((r.sum_s * 1e9 + r.sum_nano) / 1e6 / r.count, 6) AS avg_ms,
    r.min_nano / 1e6 AS min_ms,
    r.max_nano / 1e6 AS max_ms,
    r.sum_s * 1e3 + r.sum_nano / 1e6 AS total_ms,
    r.self_s * 1e3 + r.self_nano / 1e6 AS self_ms,
    r.operation_id,
    r.start_unix_s,
    r.min_nano,
    r.max_nano,
    r.histogram
FROM _rollups r
    JOIN _operations o ON o.id = r.operation_id
    JOIN _services v ON v.id = o.service_id;

CREATE VIEW operations AS
SELECT o.name AS operation,
    v.name AS service,
    sum(r.count) AS count,
    sum(r.error_count) AS error_count,
    round(total(r.error_count) / sum(r.count), 4) AS error_rate,
    sum(r.slow_count) AS slow_count,
    round((total(r.sum_s) * 1e3 + total(r.sum_nano) / 1e6) / sum(r.count), 6) AS avg_ms,
    min(r.min_nano) / 1e6 AS min_ms,
    max(r.max_nano) / 1e6 AS max_ms,
    round(total(r.sum_s) * 1e3 + total(r.sum_nano) / 1e6, 6) AS total_ms,
    round(total(r.self_s) * 1e3 + total(r.self_nano) / 1e6, 6) AS self_ms,
    strftime('%Y-%m-%dT%H:%M:%SZ', min(r.first_unix_nano) / 1000000000, 'unixepoch') AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%SZ', max(r.last_unix_nano) / 1000000000, 'unixepoch') AS last_seen
FROM _rollups r
    JOIN _operations o ON o.id = r.operation_id
    JOIN _services v ON v.id = o.service_id
WHERE r.resolution_s = 3600
GROUP BY o.name, v.name;

CREATE VIEW calls AS
SELECT caller.name AS caller,
    callee.name AS callee,
    strftime('%Y-%m-%dT%H:%M:%SZ', e.hour_unix_s, 'unixepoch') AS hour,
    e.count,
    e.sum_s * 1e3 + e.sum_nano / 1e6 AS total_ms,
    e.hour_unix_s
FROM _edges e
    JOIN _operations caller ON caller.id = e.caller_id
    JOIN _operations callee ON callee.id = e.callee_id;

CREATE VIEW error_groups AS
SELECT o.name AS operation,
    g.error_type,
    g.message,
    g.count,
    strftime('%Y-%m-%dT%H:%M:%SZ', g.first_unix_nano / 1000000000, 'unixepoch') AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%SZ', g.last_unix_nano / 1000000000, 'unixepoch') AS last_seen
FROM _error_groups g JOIN _operations o ON o.id = g.operation_id;

CREATE VIEW health AS
SELECT h.process,
    h.ended,
    h.counted,
    h.stored,
    h.sampled_out,
    (SELECT coalesce(sum(d.count), 0) FROM _drops d WHERE d.process = h.process) AS dropped,
    (SELECT group_concat(d.reason || ' ' || d.count, ', ') FROM _drops d WHERE d.process = h.process) AS dropped_why,
    h.pruned,
    h.forwarded,
    h.altered,
    h.pid,
    strftime('%Y-%m-%dT%H:%M:%SZ', h.updated_unix_s, 'unixepoch') AS updated
FROM _health h;

CREATE VIEW points AS
SELECT i.name AS instrument,
    i.kind,
    i.unit,
    strftime('%Y-%m-%dT%H:%M:%fZ', p.time_unix_nano / 1e9, 'unixepoch') AS time,
    p.attributes,
    p.data,
    p.instrument_id,
    p.time_unix_nano
FROM _points p JOIN _instruments i ON i.id = p.instrument_id;
