-- Who a process is, how it stands with its queue, and how writing fares: told by the file alone.

ALTER TABLE _health ADD COLUMN started TEXT NOT NULL DEFAULT '';
ALTER TABLE _health ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE _health ADD COLUMN pid_namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE _health ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE _health ADD COLUMN oldest_queued_unix_nano INTEGER NOT NULL DEFAULT 0;
ALTER TABLE _health ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE _health ADD COLUMN failure_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE _health ADD COLUMN failed_unix_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE _health ADD COLUMN failure TEXT NOT NULL DEFAULT '';
ALTER TABLE _health ADD COLUMN is_closed INTEGER NOT NULL DEFAULT 0;

-- Until now a span was missing from ended and from sampled_out while it was held, and for good if the process died; and
-- one that was counted and could not be stored with its trace was dropped as well.
UPDATE _health SET sampled_out = counted - stored,
    ended = counted + (SELECT coalesce(sum(d.count), 0) FROM _drops d
        WHERE d.process = _health.process AND d.reason <> 'not_held');

-- ended = counted + dropped + queued; counted = stored + sampled_out; stored - pruned are there, of all rows together.
-- What is not_held or not_kept is sampled out: it was counted, and could not be stored though its trace was kept.
DROP VIEW health;
CREATE VIEW health AS
SELECT h.process,
    h.ended + h.queued AS ended,
    h.counted,
    h.stored,
    h.sampled_out,
    (SELECT coalesce(sum(d.count), 0) FROM _drops d
        WHERE d.process = h.process AND d.reason NOT IN ('not_held', 'not_kept')) AS dropped,
    (SELECT group_concat(d.reason || ' ' || d.count, ', ') FROM _drops d
        WHERE d.process = h.process AND d.reason NOT IN ('not_held', 'not_kept')) AS dropped_why,
    h.pruned,
    h.forwarded,
    h.altered,
    h.interrupted,
    h.pid,
    strftime('%Y-%m-%dT%H:%M:%SZ', h.updated_unix_s, 'unixepoch') AS updated,
    h.queued,
    iif(h.oldest_queued_unix_nano = 0, NULL,
        strftime('%Y-%m-%dT%H:%M:%fZ', h.oldest_queued_unix_nano / 1e9, 'unixepoch')) AS oldest_queued,
    h.held,
    (SELECT coalesce(sum(d.count), 0) FROM _drops d
        WHERE d.process = h.process AND d.reason IN ('not_held', 'not_kept')) AS not_kept,
    h.failure_count,
    nullif(h.failure, '') AS last_failure
FROM _health h;
