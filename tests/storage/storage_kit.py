"""Builders for the tests of the store: rows, batches, doors, and a look into the file that goes by no code of ours."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.rows import NO_DETAILS, EdgeRow, LogRow, PointRow, ResourceRow, ScopeRow, SpanDetails, SpanRow

NOW_S = 1_800_000_000
"""A moment on the full hour."""
SECOND = 10**9
NOW = NOW_S * SECOND

_numbers = itertools.count(1)


@cache
def resource_row(service="shop", version="1.0", environment="test", instance="a") -> ResourceRow:
    attributes = {"service.name": service, "service.version": version, "service.instance.id": instance}
    attributes["deployment.environment.name"] = environment
    return ResourceRow(service, version, environment, json.dumps(attributes), "")


@cache
def scope_row(name="scope") -> ScopeRow:
    return ScopeRow(name, "", "", "{}")


def trace_bytes(number: int) -> bytes:
    return number.to_bytes(16, "big")


def span_bytes(number: int) -> bytes:
    return number.to_bytes(8, "big")


def span_row(name="op", *, service="shop", error=None, slow=False, end=NOW, ms=1.0, parent=b"", **changes) -> SpanRow:
    """A span with ids of its own; ``error`` is its error's message."""
    number = next(_numbers)
    duration = changes.pop("duration_nano", round(ms * 1e6))
    found = {}
    if error is not None:
        found = {"status_message": error, "error_type": "ValueError", "error_message": error}
    found |= {field: changes.pop(field) for field in SpanDetails._fields if field in changes}
    return SpanRow(
        trace_id=trace_bytes(number),
        span_id=span_bytes(number),
        parent_span_id=parent,
        is_parent_remote=False,
        name=name,
        resource=resource_row(service),
        scope=scope_row(),
        kind=1,
        flags=0x101,
        start_unix_nano=end - duration,
        end_unix_nano=end,
        duration_nano=duration,
        status_code=2 if error is not None else 0,
        is_slow=int(slow),
        attributes="",
        details=SpanDetails(**found) if found else None,
    )._replace(**changes)


def details_of(row: SpanRow) -> SpanDetails:
    return row.details or NO_DETAILS


def unstorable_row(name="unstorable", **changes) -> SpanRow:
    """A row that slipped past its door with a value that no 64-bit column holds."""
    return span_row(name, flags=2**70, **changes)


def edge_row(caller="a", callee="b", *, hour=NOW_S, count=1, nano=1) -> EdgeRow:
    return EdgeRow(resource_row(), caller, resource_row(), callee, hour, count, nano)


def point_row(instrument="requests", *, at=NOW, **changes) -> PointRow:
    return PointRow(
        resource=resource_row(),
        scope=scope_row(),
        instrument=instrument,
        kind="sum",
        unit="1",
        description="",
        temporality=1,
        is_monotonic=True,
        attributes='{"route":"/"}',
        start_unix_nano=at - SECOND,
        time_unix_nano=at,
        data='{"value":3}',
    )._replace(**changes)


def log_row(body="it happened", *, at=NOW, **changes) -> LogRow:
    return LogRow(
        trace_id=b"",
        span_id=b"",
        flags=0,
        resource=resource_row(),
        scope=scope_row(),
        time_unix_nano=at,
        observed_unix_nano=min(at + 1, 2**63 - 1),
        severity_number=9,
        severity_text="",
        event_name="",
        body=body,
        body_json="",
        attributes="",
    )._replace(**changes)


def batch(*rows: SpanRow, **more: Any) -> Batch:
    return Batch(list(rows), [row.duration_nano for row in rows], **more)


def sampled_out(count: int) -> dict[str, Any]:
    """What a batch has of so many spans that are only counted."""
    rows = [span_row("sampled out") for _ in range(count)]
    return {"counted": rows, "counted_self_nano": [row.duration_nano for row in rows]}


def write(writer, *rows: SpanRow, timeout=1.0, **more: Any) -> int:
    return writer.write(batch(*rows, **more), timeout_seconds=timeout)


def ask(path: str, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What plain SQLite reads from the file."""
    with closing(sqlite3.connect(path, timeout=5)) as connection:
        return connection.execute(sql, parameters).fetchall()


def ask_one(path: str, sql: str, *parameters: Any) -> Any:
    return ask(path, sql, *parameters)[0][0]


def names_in(path: str) -> list[str]:
    return [name for (name,) in ask(path, "SELECT name FROM spans ORDER BY id")]


class RowDoor:
    """A door through which rows come as they are; a payload that is callable is called for its row."""

    def encode(self, payload, slow_threshold_nano):
        return payload() if callable(payload) else payload


def broken():
    """A payload that cannot be read."""
    raise ValueError("cannot be read")


def assert_account(path: str, *, ended: int, **dropped: int) -> None:
    """The account tells of so many ended and dropped, and the others are there."""
    assert ask_one(path, "SELECT sum(ended) FROM _health") == ended
    assert dict(ask(path, "SELECT reason, sum(count) FROM _drops GROUP BY reason")) == dropped
    assert ask_one(path, "SELECT count(*) FROM _spans") == ended - sum(dropped.values())


def wait_until(is_true: Callable[[], Any], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@contextmanager
def child_process(program: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A Python process that runs ``program``, which may import this module, and is killed at the end of the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@contextmanager
def held_by_another_process(path: str) -> Iterator[subprocess.Popen]:
    """Our lock file, held by another process for as long as the block lasts; its stdin ends it earlier."""
    program = """
        import sys
        from otel_perfmon.storage.sqlite.file_lock import FileLock
        with FileLock(sys.argv[1] + ".lock").held(5):
            print("held", flush=True)
            sys.stdin.read()
        print("free", flush=True)
        sys.stdin = None
    """
    with child_process(program, path) as child:
        assert child.stdout.readline() == "held\n"
        yield child


def let_go(child: subprocess.Popen) -> None:
    """Have a process of `held_by_another_process` give the lock back."""
    child.stdin.close()
    assert child.stdout.readline() == "free\n"
    child.stdin = None
