-- Where spans are sent on to, and how far: the table of spans is the queue, and a destination is a cursor over its ids.

-- A name is a URL without what may be secret in it: user, password, query. Every span with an id up to span_cursor has
-- been sent, refused, parked, left out or pruned, and is counted as such. Of the spans that the destination has never
-- seen, gone_count had been pruned before it was first named: those are nobody's loss.
-- Who holds the lease sends, for every process on the file. lease_until_s is by the clock that runs since the boot, so
-- that no change of the time makes it longer or shorter.
CREATE TABLE _destinations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    span_cursor INTEGER NOT NULL,
    gone_count INTEGER NOT NULL,
    judged_from INTEGER NOT NULL,
    sent_count INTEGER NOT NULL DEFAULT 0,
    refused_count INTEGER NOT NULL DEFAULT 0,
    parked_count INTEGER NOT NULL DEFAULT 0,
    left_out_count INTEGER NOT NULL DEFAULT 0,
    pruned_count INTEGER NOT NULL DEFAULT 0,
    sent_unix_s REAL NOT NULL DEFAULT 0,
    failed_unix_s REAL NOT NULL DEFAULT 0,
    failing_since_unix_s REAL NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT '',
    lease_owner TEXT NOT NULL DEFAULT '',
    lease_pid INTEGER NOT NULL DEFAULT 0,
    lease_started TEXT NOT NULL DEFAULT '',
    lease_boot_id TEXT NOT NULL DEFAULT '',
    lease_pid_namespace TEXT NOT NULL DEFAULT '',
    lease_until_s REAL NOT NULL DEFAULT 0
) STRICT;

-- What a destination would not take, each span by itself, though it took others.
CREATE TABLE _parked_spans (
    destination_id INTEGER NOT NULL REFERENCES _destinations (id),
    span_row_id INTEGER NOT NULL,
    parked_unix_s REAL NOT NULL,
    reply TEXT NOT NULL,
    PRIMARY KEY (destination_id, span_row_id)
) STRICT, WITHOUT ROWID;

-- Traces that are sent because something in them was slow or failed. Of one that was met when a part of it had been left
-- out already, the spans between the two ids are sent too.
CREATE TABLE _sent_traces (
    destination_id INTEGER NOT NULL REFERENCES _destinations (id),
    trace_id BLOB NOT NULL,
    judged_unix_s INTEGER NOT NULL,
    next_span_id INTEGER NOT NULL,
    last_span_id INTEGER NOT NULL,
    PRIMARY KEY (destination_id, trace_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sent_traces_by_time ON _sent_traces (destination_id, judged_unix_s);
CREATE INDEX _sent_traces_unfinished ON _sent_traces (destination_id) WHERE next_span_id <= last_span_id;

CREATE VIEW destinations AS
SELECT d.name,
    d.sent_count,
    d.refused_count,
    d.parked_count,
    d.left_out_count,
    d.pruned_count,
    (SELECT count(*) FROM _spans s WHERE s.id > d.span_cursor) AS waiting_count,
    iif(d.sent_unix_s = 0, NULL, strftime('%Y-%m-%dT%H:%M:%SZ', d.sent_unix_s, 'unixepoch')) AS last_sent,
    iif(d.failing_since_unix_s = 0, NULL, strftime('%Y-%m-%dT%H:%M:%SZ', d.failing_since_unix_s, 'unixepoch'))
        AS failing_since,
    nullif(d.failure, '') AS last_failure,
    d.span_cursor
FROM _destinations d;
