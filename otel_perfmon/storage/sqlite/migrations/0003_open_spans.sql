-- What is running: a row for each span that is open for longer than a second, until it ends. The columns of _spans, as
-- they stood when they last changed. The rows of a process that is gone tell what was running when it died; the next one
-- that records makes spans of them, which are listed and never counted.
CREATE TABLE _open_spans (
    process TEXT NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_span_id BLOB NOT NULL,
    operation_id INTEGER NOT NULL REFERENCES _operations (id),
    resource_id INTEGER NOT NULL REFERENCES _resources (id),
    scope_id INTEGER NOT NULL REFERENCES _scopes (id),
    kind INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    start_unix_nano INTEGER NOT NULL,
    status_code INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    details TEXT NOT NULL,
    slow_threshold_nano INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    thread_name TEXT NOT NULL,
    PRIMARY KEY (process, trace_id, span_id)
) STRICT, WITHOUT ROWID;

-- Who they are, and when they last looked at what is open. A pid may be another process's by now: see storage/process.py.
CREATE TABLE _open_processes (
    process TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid_namespace TEXT NOT NULL,
    seen_unix_nano INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows of _spans that were made of open ones: they were not counted when they were stored.
ALTER TABLE _health ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;

CREATE VIEW open_spans AS
SELECT coalesce(iif(s.details = '', NULL, json_extract(s.details, '$.name')), o.name) AS name,
    v.name AS service,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.start_unix_nano / 1e9, 'unixepoch') AS start_time,
    strftime('%Y-%m-%dT%H:%M:%fZ', p.seen_unix_nano / 1e9, 'unixepoch') AS seen_time,
    p.pid,
    s.thread_name,
    lower(hex(s.trace_id)) AS trace_id,
    lower(hex(s.span_id)) AS span_id,
    nullif(lower(hex(s.parent_span_id)), '') AS parent_span_id,
    iif(s.attributes = '', '{}', s.attributes) AS attributes,
    s.start_unix_nano,
    p.seen_unix_nano
FROM _open_spans s
    CROSS JOIN _operations o ON o.id = s.operation_id
    CROSS JOIN _services v ON v.id = o.service_id
    CROSS JOIN _open_processes p ON p.process = s.process;
