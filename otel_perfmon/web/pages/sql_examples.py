"""Questions in SQL that are worth asking of any store; each answers in a moment, however many spans there are."""

from __future__ import annotations

from typing import Final, NamedTuple


class Example(NamedTuple):
    """A question in words, and in SQL."""

    title: str
    sql: str


EXAMPLES: Final = (
    Example(
        "Where does the time go?",
        """\
SELECT operation, service, count, self_ms,
    round(100 * self_ms / sum(self_ms) OVER (), 1) AS percent, avg_ms, max_ms
FROM operations
ORDER BY self_ms DESC LIMIT 50""",
    ),
    Example(
        "The slowest traces of today",
        """\
SELECT name AS operation, duration_ms, start_time, service, trace_id
FROM spans
WHERE is_slow = 1 AND parent_span_id IS NULL
    AND end_unix_nano >= strftime('%s', 'now', 'start of day') * 1000000000
ORDER BY duration_nano DESC LIMIT 50""",
    ),
    Example(
        "The slowest calls of all",
        """\
SELECT name AS operation, duration_ms, end_time, trace_id, span_id, attributes
FROM spans
WHERE is_slow = 1
ORDER BY duration_nano DESC LIMIT 50""",
    ),
    Example(
        "Percentiles by operation, of the last 15 minutes",
        """\
SELECT operation, count(*) AS calls,
    max(duration) FILTER (WHERE rank <= 0.50) AS p50_ms,
    max(duration) FILTER (WHERE rank <= 0.95) AS p95_ms,
    max(duration) FILTER (WHERE rank <= 0.99) AS p99_ms,
    max(duration) AS max_ms
FROM (
    SELECT operation, duration, percent_rank() OVER (PARTITION BY operation ORDER BY duration) AS rank
    FROM metrics
    WHERE end_unix_nano > (strftime('%s', 'now') - 900) * 1000000000)
GROUP BY operation
ORDER BY p95_ms DESC""",
    ),
    Example(
        "Errors by hour",
        """\
SELECT start_time AS hour, sum(error_count) AS errors, sum(count) AS calls,
    round(100.0 * sum(error_count) / sum(count), 2) AS percent
FROM rollups
WHERE resolution_s = 3600
GROUP BY start_unix_s
ORDER BY start_unix_s DESC LIMIT 48""",
    ),
    Example(
        "The latest kinds of errors",
        """\
SELECT operation, error_type, message, count, first_seen, last_seen, last_trace_id
FROM error_groups
ORDER BY last_unix_nano DESC LIMIT 50""",
    ),
    Example(
        "Which attributes are there, among the latest 10,000 spans?",
        """\
SELECT a.key, count(*) AS spans, count(DISTINCT a.value) AS different_values, min(a.value) AS example
FROM (SELECT attributes FROM spans ORDER BY id DESC LIMIT 10000) s, json_each(s.attributes) a
GROUP BY a.key
ORDER BY spans DESC""",
    ),
    Example(
        "Durations by the value of an attribute",
        """\
SELECT json_extract(attributes, '$."http.response.status_code"') AS value,
    count(*) AS calls, avg(duration_ms) AS avg_ms, max(duration_ms) AS max_ms, sum(is_error) AS errors
FROM (SELECT * FROM spans ORDER BY id DESC LIMIT 50000)
GROUP BY value
ORDER BY calls DESC LIMIT 50""",
    ),
    Example(
        "Who calls whom, and how long that takes",
        """\
SELECT caller, callee, sum(count) AS calls, sum(total_ms) AS total_ms, sum(total_ms) / sum(count) AS avg_ms
FROM calls
GROUP BY caller, callee
ORDER BY total_ms DESC LIMIT 50""",
    ),
    Example(
        "Slow minutes: when was which operation slow?",
        """\
SELECT start_time AS minute, operation, count, slow_count, avg_ms, max_ms
FROM rollups
WHERE resolution_s = 60 AND slow_count > 0
ORDER BY start_unix_s DESC, max_nano DESC LIMIT 100""",
    ),
    Example(
        "Warnings and errors in the logs",
        """\
SELECT time, severity, service, body, trace_id
FROM logs
WHERE severity_number >= 13
ORDER BY moment_unix_nano DESC LIMIT 100""",
    ),
    Example(
        "What became of the spans of each process",
        """\
SELECT pid, updated, ended, counted, stored, sampled_out, dropped, dropped_why, queued, last_failure
FROM health
ORDER BY updated DESC""",
    ),
)
