-- What came as OTLP and has fields for which a row has no place, and log records.

-- A span as it came, in OTLP's protobuf, where its row does not tell all of it: few have one. It goes with its span,
-- whoever removes that, by a trigger that comes with the first of them: see span_rows.py.
CREATE TABLE _raw_spans (
    span_row_id INTEGER PRIMARY KEY REFERENCES _spans (id),
    otlp BLOB NOT NULL
) STRICT;

-- The same of a resource (a ResourceSpans, or ResourceLogs, without its scopes) and of a scope (without its spans).
ALTER TABLE _resources ADD COLUMN otlp BLOB NOT NULL DEFAULT x'';
ALTER TABLE _scopes ADD COLUMN otlp BLOB NOT NULL DEFAULT x'';

-- body is text; any other body is JSON in body_json, which is empty where there is text or none.
-- moment_unix_nano is when it happened, as well as anybody knows.
CREATE TABLE _logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    flags INTEGER NOT NULL,
    resource_id INTEGER NOT NULL REFERENCES _resources (id),
    scope_id INTEGER NOT NULL REFERENCES _scopes (id),
    time_unix_nano INTEGER NOT NULL,
    observed_unix_nano INTEGER NOT NULL,
    arrived_unix_s INTEGER NOT NULL,
    severity_number INTEGER NOT NULL,
    severity_text TEXT NOT NULL,
    event_name TEXT NOT NULL,
    body TEXT NOT NULL,
    body_json TEXT NOT NULL,
    attributes TEXT NOT NULL,
    dropped_attributes_count INTEGER NOT NULL,
    altered TEXT NOT NULL,
    otlp BLOB NOT NULL,
    moment_unix_nano INTEGER GENERATED ALWAYS AS (CASE WHEN time_unix_nano <> 0 THEN time_unix_nano
        WHEN observed_unix_nano <> 0 THEN observed_unix_nano ELSE arrived_unix_s * 1000000000 END) VIRTUAL
) STRICT;
CREATE INDEX _logs_by_moment ON _logs (moment_unix_nano);
CREATE INDEX _logs_by_severe ON _logs (moment_unix_nano) WHERE severity_number >= 17;
CREATE INDEX _logs_by_trace ON _logs (trace_id, span_id) WHERE trace_id <> x'';
CREATE INDEX _logs_by_arrival ON _logs (arrived_unix_s);

CREATE VIEW logs AS
SELECT l.id,
    strftime('%Y-%m-%dT%H:%M:%fZ', l.moment_unix_nano / 1e9, 'unixepoch') AS time,
    CASE WHEN l.severity_text <> '' THEN l.severity_text WHEN l.severity_number < 1 OR l.severity_number > 24 THEN ''
        ELSE rtrim(substr('TRACEDEBUGINFO WARN ERRORFATAL', (l.severity_number - 1) / 4 * 5 + 1, 5)) END AS severity,
    v.name AS service,
    iif(l.body_json = '', l.body, l.body_json) AS body,
    nullif(l.event_name, '') AS event_name,
    nullif(lower(hex(l.trace_id)), '') AS trace_id,
    nullif(lower(hex(l.span_id)), '') AS span_id,
    iif(l.attributes = '', '{}', l.attributes) AS attributes,
    c.name AS scope,
    nullif(l.altered, '') AS altered,
    l.severity_number,
    l.moment_unix_nano
FROM _logs l
    CROSS JOIN _resources r ON r.id = l.resource_id
    CROSS JOIN _services v ON v.id = r.service_id
    CROSS JOIN _scopes c ON c.id = l.scope_id;
