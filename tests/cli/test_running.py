from __future__ import annotations

import json
import time

import pytest
from cli_kit import SECOND, span_row
from storage_kit import batch

from otel_perfmon.storage.base import Batch, OpenSpans
from otel_perfmon.storage.rows import OpenSpanRow
from otel_perfmon.storage.sqlite.writer import SqliteWriter

STACK = (
    '  File "/srv/shop/gateway.py", line 118, in charge\n    call()\n'
    '  File "/usr/lib/python3.11/socket.py", line 706, in readinto\n    return self._sock.recv_into(b)\n'
)


def open_row(name: str, seconds: float, *, stack: str = "", service: str = "shop") -> OpenSpanRow:
    now = time.time_ns()
    found = {}
    if stack:
        event = {"name": "perfmon.stack", "time_unix_nano": now - SECOND, "attributes": {"code.stacktrace": stack}}
        found["events"] = json.dumps([event])
    row = span_row(name, end=now, ms=seconds * 1e3, attributes='{"cart":7}', service=service, **found)
    return OpenSpanRow(row, SECOND, 7, "worker-1")


@pytest.fixture
def running(db_path):
    """Two operations of a process that lives."""
    writer = SqliteWriter(db_path)
    rows = [open_row("charge", 5, stack=STACK), open_row("mail", 2, service="post")]
    writer.write(Batch(open_spans=OpenSpans(rows)), timeout_seconds=1)
    yield db_path
    writer.close()


def test_what_is_open_is_a_table_of_the_oldest_first(cli, running) -> None:
    printed = cli("running", "--db", running)
    assert printed.status == 0
    assert printed.lines[0] == "Running"
    charge, mail = printed.lines[3:5]
    assert charge.split()[1:3] == ["s", "charge"]
    assert 5 <= float(charge.split()[0]) < 20
    assert "gateway.py:118 in charge" in charge
    assert "mail" in mail


def test_in_full_it_tells_the_attributes_the_thread_and_the_stack(cli, running) -> None:
    out = cli("running", "charge", "--full", "--db", running).out
    for part in (
        "worker-1",
        "running",
        "cart",
        "where it was when it became slow, after 4",
        'File "/srv/shop/gateway.py", line 118',
        "recv_into",
    ):
        assert part in out
    assert "mail" not in out


def test_json_has_an_item_for_each(cli, running) -> None:
    printed = cli("running", "--json", "--db", running)
    assert [(item["span"]["name"], item["state"], item["is_interrupted"]) for item in printed.items] == [
        ("charge", "running", False),
        ("mail", "running", False),
    ]
    assert printed.json["is_complete"] is True
    assert cli("running", "--json", "--limit", "1", "--db", running).json["is_complete"] is False


def test_filters_and_limits_say_what_is_left_out(cli, running) -> None:
    assert "charge" not in cli("running", "--service", "post", "--db", running).out
    assert "and 1 more (--limit 5)" in cli("running", "--limit", "1", "--db", running).out


def test_nothing_open_is_one_sentence(cli, db_path) -> None:
    writer = SqliteWriter(db_path)
    writer.write(batch(span_row()), timeout_seconds=1)
    writer.close()
    assert cli("running", "--db", db_path).out == "No span is open for longer than a second.\n"


def test_what_a_dead_process_was_doing_stands_under_a_heading_of_its_own(run_python, cli, db_path) -> None:
    run_python("""
        import os, time
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db")
        with monitor.monitor("died in here"):
            time.sleep(1.2)
            monitor.storage.find_open_spans()
            os._exit(0)
        """)
    printed = cli("running", "--db", db_path)
    assert printed.lines[0] == "Interrupted  what was running when its process ended"
    assert "died in here" in printed.out


def test_a_slow_span_tells_its_line_in_its_trace(run_python, cli, db_path) -> None:
    run_python("""
        import time
        import otel_perfmon
        monitor = otel_perfmon.configure("metrics.db", slow_threshold_ms=50)
        with monitor.monitor("slow one"):
            time.sleep(0.3)
        """)
    out = cli("trace", "last", "--db", db_path).out
    assert "Where it was when it became slow" in out
    assert "slow one  <string>:6 in <module>" in out
    assert 'File "<string>", line 6' in cli("slow", "--full", "--db", db_path).out
    assert 'File "<string>", line 6' in cli("trace", "last", "--full", "--db", db_path).out
