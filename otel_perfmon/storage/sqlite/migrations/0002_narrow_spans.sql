-- Spans in a narrow table, days as cells of their own, error groups with their examples and times, alarms, and the views
-- over all that. Histograms are packed in another way. The functions that SQLite does not have are those of schema_1.py.

DROP VIEW metrics;
DROP VIEW spans;
DROP VIEW span_keys;
DROP VIEW events;
DROP VIEW links;
DROP VIEW traces;
DROP VIEW rollups;
DROP VIEW operations;
DROP VIEW calls;
DROP VIEW error_groups;
DROP VIEW health;
DROP VIEW points;
DROP INDEX _spans_by_trace;
DROP INDEX _spans_by_operation;
DROP INDEX _spans_by_end;
DROP INDEX _spans_by_error;
DROP INDEX _spans_by_slow;
DROP INDEX _spans_by_operation_error;
DROP INDEX _spans_by_operation_slow;
DROP INDEX _spans_worth_keeping;
ALTER TABLE _spans RENAME TO _spans_1;
ALTER TABLE _edges RENAME TO _edges_1;
ALTER TABLE _error_groups RENAME TO _error_groups_1;

-- AUTOINCREMENT: a cursor over the ids must never meet a reused one. No unique key on (trace_id, span_id):
-- random.seed(0) repeats ids, and what was resent is stored again rather than lost.
-- What is absent is empty, not NULL: Python's sqlite3 asks its adapters about every None (and bytes and bool), which
-- made a row of 25 of these cost 8.4 µs to bind and insert instead of 2.0 (measured).
-- duration_nano stands for itself: end less start may not be it, where a clock ran backwards. start_skew_nano is what
-- end less duration is off the start: 0, as a rule, which takes no room.
-- details is empty for most spans, else a JSON object of what is present of: name (where the operation is that of all
-- others), status_message, error_type, trace_state, altered, events, links and the counts of what was dropped. A column
-- that is empty in most rows costs as much to bind as any other. No generated columns show what is in it: with
-- trusted_schema off, SQLite before 3.41 refuses JSON in the definition of a table.
CREATE TABLE _spans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_span_id BLOB NOT NULL,
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    resource_id INTEGER NOT NULL REFERENCES _resources (id),
    scope_id INTEGER NOT NULL REFERENCES _scopes (id),
    kind INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    end_unix_nano INTEGER NOT NULL,
    duration_nano INTEGER NOT NULL,
    start_skew_nano INTEGER NOT NULL DEFAULT 0,
    status_code INTEGER NOT NULL,
    is_slow INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    details TEXT NOT NULL DEFAULT '',
    start_unix_nano INTEGER GENERATED ALWAYS AS (end_unix_nano - duration_nano - start_skew_nano) VIRTUAL,
    is_error INTEGER GENERATED ALWAYS AS (status_code = 2) VIRTUAL
) STRICT;

-- A start that is further off than the column can tell stands in the details.
INSERT INTO _spans (id, trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags,
    end_unix_nano, duration_nano, start_skew_nano, status_code, is_slow, attributes, details)
SELECT id, trace_id, span_id, parent_span_id, operation_id, resource_id, scope_id, kind, flags,
    end_unix_nano, duration_nano, iif(is_told, skew, -9223372036854775807), status_code, is_slow, attributes,
    iif(is_told AND name = '' AND status_message = '' AND error_type = '' AND trace_state = '' AND altered = ''
            AND events = '' AND links = ''
            AND dropped_attributes_count = 0 AND dropped_events_count = 0 AND dropped_links_count = 0,
        '',
        span_details(name, iif(is_told, NULL, start_unix_nano), status_message, error_type, trace_state, altered,
            events, links, dropped_attributes_count, dropped_events_count, dropped_links_count))
FROM (SELECT *, end_unix_nano - duration_nano - start_unix_nano AS skew,
        typeof(end_unix_nano - duration_nano - start_unix_nano) = 'integer'
            AND end_unix_nano - duration_nano - start_unix_nano >= -9223372036854775807 AS is_told
    FROM _spans_1);
-- Ids go on from where they were, though the last spans may be pruned.
DELETE FROM sqlite_sequence WHERE name = '_spans';
INSERT INTO sqlite_sequence SELECT '_spans', seq FROM sqlite_sequence WHERE name = '_spans_1';
-- Lists go by end, so that their indexes append at the right edge; trace ids of ours begin with their time.
CREATE INDEX _spans_by_trace ON _spans (trace_id);
CREATE INDEX _spans_by_operation ON _spans (operation_id, end_unix_nano);
CREATE INDEX _spans_by_end ON _spans (end_unix_nano);
CREATE INDEX _spans_by_error ON _spans (end_unix_nano) WHERE is_error = 1;
CREATE INDEX _spans_by_slow ON _spans (end_unix_nano) WHERE is_slow = 1;
CREATE INDEX _spans_by_operation_error ON _spans (operation_id, end_unix_nano) WHERE is_error = 1;
CREATE INDEX _spans_by_operation_slow ON _spans (operation_id, end_unix_nano) WHERE is_slow = 1;
-- Durations come in no order: an index over those of all spans would be written all over the place.
CREATE INDEX _spans_by_slow_duration ON _spans (duration_nano) WHERE is_slow = 1;
CREATE INDEX _spans_by_operation_slow_duration ON _spans (operation_id, duration_nano) WHERE is_slow = 1;
-- What makes a trace worth keeping past the retention of ordinary spans.
CREATE INDEX _spans_worth_keeping ON _spans (trace_id) WHERE is_error + is_slow > 0;

UPDATE _rollups SET histogram = repacked_histogram(histogram);
INSERT INTO _rollups
SELECT 86400, operation_id, start_unix_s - (start_unix_s % 86400 + 86400) % 86400, sum(count), sum(error_count),
    sum(slow_count),
    sum(sum_s) + sum(sum_nano) / 1000000000, sum(sum_nano) % 1000000000,
    sum(self_s) + sum(self_nano) / 1000000000, sum(self_nano) % 1000000000,
    min(min_nano), max(max_nano), min(first_unix_nano), max(last_unix_nano), merged_histogram(histogram)
FROM _rollups WHERE resolution_s = 3600 GROUP BY 2, 3;

CREATE TABLE _edges (
    resolution_s INTEGER NOT NULL,
    start_unix_s INTEGER NOT NULL,
    caller_id INTEGER NOT NULL REFERENCES _operations (id),
    callee_id INTEGER NOT NULL REFERENCES _operations (id),
    count INTEGER NOT NULL,
    sum_s INTEGER NOT NULL,
    sum_nano INTEGER NOT NULL,
    PRIMARY KEY (resolution_s, start_unix_s, caller_id, callee_id)
) STRICT, WITHOUT ROWID;

INSERT INTO _edges SELECT 3600, hour_unix_s, caller_id, callee_id, count, sum_s, sum_nano FROM _edges_1;
INSERT INTO _edges
SELECT 86400, hour_unix_s - (hour_unix_s % 86400 + 86400) % 86400, caller_id, callee_id, sum(count),
    sum(sum_s) + sum(sum_nano) / 1000000000, sum(sum_nano) % 1000000000
FROM _edges_1 GROUP BY 2, 3, 4;
CREATE INDEX _edges_by_caller ON _edges (caller_id, resolution_s, start_unix_s);
CREATE INDEX _edges_by_callee ON _edges (callee_id, resolution_s, start_unix_s);

-- The first and the latest example of each group; the latest with its whole message.
CREATE TABLE _error_groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    error_type TEXT NOT NULL,
    message TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_unix_nano INTEGER NOT NULL,
    last_unix_nano INTEGER NOT NULL,
    first_trace_id BLOB NOT NULL,
    last_trace_id BLOB NOT NULL,
    last_span_id BLOB NOT NULL,
    last_message TEXT NOT NULL,
    UNIQUE (operation_id, error_type, message)
) STRICT;
CREATE TABLE _error_cells (
    group_id INTEGER NOT NULL REFERENCES _error_groups (id),
    resolution_s INTEGER NOT NULL,
    start_unix_s INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (group_id, resolution_s, start_unix_s)
) STRICT, WITHOUT ROWID;

-- The examples of a group and when its errors were, from the failed spans that are still kept. Without one the message
-- is the group's, and its ids are empty.
INSERT INTO _error_groups (operation_id, error_type, message, count, first_unix_nano, last_unix_nano, first_trace_id,
    last_trace_id, last_span_id, last_message)
SELECT operation_id, error_type, message, count, first_unix_nano, last_unix_nano, x'', x'', x'', message
FROM _error_groups_1 ORDER BY first_unix_nano;
CREATE TEMP TABLE _failed_1 AS
SELECT s.id, s.end_unix_nano, s.error_message, coalesce(g.id, other.id) AS group_id
FROM (SELECT id, operation_id, error_type, end_unix_nano, error_message(status_message, events) AS error_message
        FROM _spans_1 WHERE is_error = 1) s
    LEFT JOIN _error_groups g ON g.operation_id = s.operation_id AND g.error_type = s.error_type
        AND g.message = message_pattern(s.error_message)
    LEFT JOIN _error_groups other ON other.operation_id = s.operation_id AND other.error_type = ''
        AND other.message = '(other messages)';
UPDATE _error_groups SET first_trace_id = s.trace_id
FROM (SELECT min(f.id) AS id, f.group_id FROM _failed_1 f JOIN _error_groups g ON g.id = f.group_id
        WHERE f.end_unix_nano = g.first_unix_nano GROUP BY f.group_id) f
    JOIN _spans_1 s ON s.id = f.id
WHERE _error_groups.id = f.group_id;
UPDATE _error_groups SET last_trace_id = s.trace_id, last_span_id = s.span_id, last_message = f.error_message
FROM (SELECT max(f.id) AS id, f.group_id, f.error_message FROM _failed_1 f JOIN _error_groups g ON g.id = f.group_id
        WHERE f.end_unix_nano = g.last_unix_nano GROUP BY f.group_id) f
    JOIN _spans_1 s ON s.id = f.id
WHERE _error_groups.id = f.group_id;
INSERT INTO _error_cells
SELECT f.group_id, r.resolution_s, f.second - (f.second % r.resolution_s + r.resolution_s) % r.resolution_s, count(*)
FROM (SELECT group_id, end_unix_nano / 1000000000 - (end_unix_nano % 1000000000 < 0) AS second FROM _failed_1
        WHERE group_id IS NOT NULL) f
    CROSS JOIN (SELECT 3600 AS resolution_s UNION ALL SELECT 86400) r
GROUP BY 1, 2, 3;
DROP TABLE _failed_1;
CREATE INDEX _error_groups_by_last ON _error_groups (last_unix_nano);

DROP TABLE _spans_1;
DROP TABLE _edges_1;
DROP TABLE _error_groups_1;

-- Which operations fail too often, by which threshold: processes may have different ones.
CREATE TABLE _alarms (
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    error_rate_threshold REAL NOT NULL,
    since_unix_s INTEGER NOT NULL,
    PRIMARY KEY (service, operation, error_rate_threshold)
) STRICT, WITHOUT ROWID;

-- The views. CROSS JOIN keeps the spans first, in the order of their index. Behind the readable columns stand the raw ones: only a filter on those uses an index.

CREATE VIEW metrics AS
SELECT coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) AS operation,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.end_unix_nano / 1e9, 'unixepoch') AS timestamp,
    round(s.duration_nano / 1e6, 6) AS duration,
    s.is_error AS error,
    s.is_slow,
    iif(s.details = '', NULL, json_extract(s.details, '$.error_type')) AS error_type,
    s.operation_id,
    s.end_unix_nano
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id;

CREATE VIEW spans AS
SELECT s.id,
    coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) AS name,
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
    iif(s.details = '', NULL, json_extract(s.details, '$.error_type')) AS error_type,
    iif(s.details = '', NULL, json_extract(s.details, '$.status_message')) AS status_message,
    iif(s.attributes = '', '{}', s.attributes) AS attributes,
    iif(s.details = '', 0, coalesce(json_array_length(s.details, '$.events'), 0)) AS event_count,
    iif(s.details = '', 0, coalesce(json_array_length(s.details, '$.links'), 0)) AS link_count,
    c.name AS scope,
    iif(s.details = '', NULL, json_extract(s.details, '$.altered')) AS altered,
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
    coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) AS span_name,
    lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    json_extract(e.value, '$.attributes') AS attributes,
    json_extract(e.value, '$.time_unix_nano') AS time_unix_nano,
    s.id AS span_row_id
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id, json_each(nullif(s.details, ''), '$.events') e;

CREATE VIEW links AS
SELECT lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) AS span_name,
    json_extract(l.value, '$.trace_id') AS linked_trace_id,
    json_extract(l.value, '$.span_id') AS linked_span_id,
    json_extract(l.value, '$.attributes') AS attributes,
    s.id AS span_row_id
FROM _spans s CROSS JOIN _operations o ON o.id = s.operation_id, json_each(nullif(s.details, ''), '$.links') l;

CREATE VIEW traces AS
SELECT lower(hex(s.trace_id)) AS trace_id,
    max(CASE WHEN s.parent_span_id = x''
        THEN coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) END) AS root,
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
WHERE r.resolution_s = 86400
GROUP BY o.name, v.name;

CREATE VIEW calls AS
SELECT caller.name AS caller,
    callee.name AS callee,
    strftime('%Y-%m-%dT%H:%M:%SZ', e.start_unix_s, 'unixepoch') AS hour,
    e.count,
    e.sum_s * 1e3 + e.sum_nano / 1e6 AS total_ms,
    e.start_unix_s AS hour_unix_s
FROM _edges e
    JOIN _operations caller ON caller.id = e.caller_id
    JOIN _operations callee ON callee.id = e.callee_id
WHERE e.resolution_s = 3600;

CREATE VIEW error_groups AS
SELECT o.name AS operation,
    v.name AS service,
    g.error_type,
    g.message,
    g.count,
    strftime('%Y-%m-%dT%H:%M:%SZ', g.first_unix_nano / 1000000000, 'unixepoch') AS first_seen,
    strftime('%Y-%m-%dT%H:%M:%SZ', g.last_unix_nano / 1000000000, 'unixepoch') AS last_seen,
    g.last_message,
    lower(hex(g.last_trace_id)) AS last_trace_id,
    g.operation_id,
    g.last_unix_nano
FROM _error_groups g
    JOIN _operations o ON o.id = g.operation_id
    JOIN _services v ON v.id = o.service_id;

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
