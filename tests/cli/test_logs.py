"""Log records at the terminal: by themselves, beside the spans of their trace, and out to files and back."""

from __future__ import annotations

import csv
import io
import json

import pytest
from cli_kit import HOSTILE, span_row
from storage_kit import NOW, SECOND, batch, log_row, point_row, resource_row

from otel_perfmon import open_store
from otel_perfmon.storage.sqlite.writer import SqliteWriter

EXCEPTION = json.dumps(
    {"exception.type": "TimeoutError", "exception.message": "no answer", "exception.stacktrace": "Traceback:\n  File x"}
)


@pytest.fixture
def span():
    return span_row("GET /cart", status_code=2, trace_id=b"\xab" * 16, end=NOW)


@pytest.fixture
def filled(cli, db_path, span):
    """Run one command on a store with some records."""
    mine = {"trace_id": span.trace_id, "span_id": span.span_id}
    logs = [
        log_row("asked the gateway", at=NOW - 3 * SECOND, **mine),
        log_row("gave up", at=NOW - 2 * SECOND, severity_number=17, attributes=EXCEPTION, **mine),
        log_row("", at=NOW - SECOND, body_json='{"k":1}', event_name="shop.sold", resource=resource_row("till")),
    ]
    writer = SqliteWriter(db_path)
    writer.write(batch(span, span_row("other"), logs=logs, points=[point_row(at=NOW)]), timeout_seconds=5)
    writer.close()

    def run(command, *arguments, width=100):
        return cli(command, "--db", db_path, *arguments, width=width)

    return run


def test_the_newest_come_first_in_a_line_each(filled):
    printed = filled("logs")
    assert printed.status == 0
    first, second, third = printed.lines
    assert "shop.sold" in first
    assert '{"k": 1}' in first
    assert "service=till" in first
    assert "ERROR" in second
    assert "gave up  TimeoutError: no answer" in second
    assert second.rstrip().endswith("ab" * 8)
    assert "INFO   asked the gateway" in third
    assert max(map(len, printed.lines)) <= 100


@pytest.mark.parametrize(
    ("arguments", "bodies"),
    [
        (("--severity", "warn"), ["gave up"]),
        (("--trace", "abab"), ["gave up", "asked the gateway"]),
        (("--trace", "ab" * 16, "--limit", "1"), ["gave up"]),
        (("--service", "till"), [{"k": 1}]),
        (("--window", "2020-01-01/2020-01-02"), []),
    ],
)
def test_they_are_chosen_by_severity_trace_service_and_time(filled, arguments, bodies):
    printed = filled("logs", "--json", *arguments)
    assert [item["body"] for item in printed.items] == bodies
    assert printed.json["is_complete"] is ("--limit" not in arguments)


def test_all_there_is_of_each_is_told_when_asked_for(filled):
    printed = filled("logs", "--full", "--severity", "error")
    for told in ("gave up", "exception.type", "Traceback:", "abababababab"):
        assert told in printed.out


def test_a_trace_shows_its_records_under_their_spans_and_their_exception_as_its_error(filled):
    printed = filled("trace", "abab")
    errors, _, logs = printed.out.partition("Logs")
    assert "TimeoutError: no answer" in errors
    assert "in GET /cart" in logs
    assert logs.index("asked the gateway") < logs.index("gave up")
    assert "Traceback:" in filled("trace", "abab", "--full").out
    (item,) = filled("trace", "abab", "--json").items
    assert [log["body"] for log in item["logs"]] == ["asked the gateway", "gave up"]
    assert item["events"] == []
    assert "TimeoutError" in filled("errors").out
    assert "Traceback:" in filled("errors", "--full").out


def test_without_any_that_is_said(cli, filled):
    assert "No log record matches" in filled("logs", "--severity", "fatal").out


def test_what_somebody_logs_breaks_no_line(cli, db_path):
    writer = SqliteWriter(db_path)
    logs = [log_row(body, severity_text=body[:20], event_name=body) for body in HOSTILE]
    writer.write(batch(span_row(), logs=logs), timeout_seconds=5)
    writer.close()
    for arguments in ((), ("--full",)):
        printed = cli("logs", "--db", db_path, *arguments, width=60)
        assert "\x1b" not in printed.out
        assert "\u202e" not in printed.out
    assert len(cli("logs", "--db", db_path, width=60).lines) == len(HOSTILE)


@pytest.mark.parametrize("form", ["otlp-json", "otlp-proto"])
def test_metrics_and_records_go_out_to_files_and_come_in_elsewhere(filled, cli, db_path, tmp_path, form):
    other = str(tmp_path / "other.db")
    for signal in ("metrics", "logs"):
        path = str(tmp_path / signal)
        assert filled("export", "--signal", signal, "--format", form, "-o", path).status == 0
        named = () if form == "otlp-json" else ("--signal", signal)
        printed = cli("import", "--db", other, *named, path)
        assert printed.status == 0, printed.err
        assert "3 log records stored." in printed.out or "data points stored." in printed.out
    with open_store(db_path) as store, open_store(other) as copy:
        logs, copies = store.find_arrived_logs().items, copy.find_arrived_logs().items
        assert sorted((log.body, log.trace_id, log.attributes) for log in logs if log.trace_id) == sorted(
            (log.body, log.trace_id, log.attributes) for log in copies if log.trace_id
        )
        assert len(logs) == len(copies)
        names = [point.instrument for point in copy.find_arrived_points().items]
        rollups = ["perfmon.rollup.duration", "perfmon.rollup.errors", "perfmon.rollup.slow"]
        assert sorted(names) == sorted(["requests", *rollups * 2])


def test_a_table_has_a_row_for_each(filled):
    logs = list(csv.DictReader(io.StringIO(filled("export", "--signal", "logs", "--format", "csv").out)))
    assert [(row["severity"], row["body"]) for row in logs][1:] == [("ERROR", "gave up"), ("INFO", '{"k":1}')]
    points = list(csv.DictReader(io.StringIO(filled("export", "--signal", "metrics", "--format", "csv").out)))
    assert (points[0]["instrument"], points[0]["value"], points[0]["temporality"]) == ("requests", "3", "delta")
    (limited,) = filled("export", "--signal", "logs", "--limit", "1", "--format", "otlp-json").lines
    assert len(json.loads(limited)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]) == 1


@pytest.mark.parametrize("arguments", [("--format", "chrome-trace"), ("--error",), ("--min", "5ms")])
def test_what_only_spans_have_is_refused(filled, arguments):
    printed = filled("export", "--signal", "logs", *arguments)
    assert printed.status == 2
    assert "Traceback" not in printed.err
