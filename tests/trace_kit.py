"""Traces of any size and oddity, straight into a store: ``python tests/trace_kit.py FILE SPANS`` makes one."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from otel_perfmon.storage.base import Batch, OpenSpans
from otel_perfmon.storage.rows import LogRow, OpenSpanRow, ResourceRow, ScopeRow, SpanDetails, SpanRow
from otel_perfmon.storage.sqlite.writer import SqliteWriter

TRACE = bytes.fromhex("0199c1d2aabbccddeeff001122334455")
MS = 10**6
HOSTILE = "<img src=x onerror=alert(1)>\u2028\u202e\x1b[31m\"'&{{7*7}}"
_AT_ONCE = 1_000
_CALLS = {
    "shop": ["POST /checkout", "load_cart", "render_items", "validate"],
    "stock": ["reserve_stock", "SELECT stock FOR UPDATE", "UPDATE stock"],
    "payments": ["charge_card", "POST /v1/charges", "connect", "retry"],
    "mail": ["send_receipt", "enqueue"],
}
SCOPE = ScopeRow("tests", "1.0", "", "{}")


@cache
def resource(service: str = "shop", host: str = "") -> ResourceRow:
    """A process of a service."""
    attributes = {"service.name": service, **({"host.name": host} if host else {})}
    return ResourceRow(service, "", "", json.dumps(attributes))


def row(number: int, parent: int | None, name: str, start: int, end: int, **fields: object) -> SpanRow:
    """A span of `TRACE`; ids are numbers, times nanoseconds."""
    plain = SpanRow(
        trace_id=TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=b"" if parent is None else parent.to_bytes(8, "big"),
        is_parent_remote=False,
        name=name,
        resource=resource(),
        scope=SCOPE,
        kind=1,
        flags=1,
        start_unix_nano=start,
        end_unix_nano=end,
        duration_nano=max(0, end - start),
        status_code=0,
        is_slow=0,
        attributes="",
    )
    return plain._replace(**fields)


def big_trace(count: int, *, seed: int = 0, end: int | None = None) -> list[SpanRow]:
    """A trace of so many spans in four services, wide and deep, with errors and slow spans, ended just now."""
    rng = random.Random(seed)
    length = count * 50_000
    start = (time.time_ns() if end is None else end) - length
    rows = [row(1, None, "POST /checkout", start, start + length, kind=2, is_slow=1)]
    waiting = [(rows[0], count - 1)]
    while waiting:
        parent, below = waiting.pop()
        child_count = min(below, rng.choice([1, 2, 3, 5, 8, 13, 40]))
        shares = [rng.random() + 0.05 for _ in range(child_count)]
        is_beside = rng.random() < 0.2
        at, room = parent.start_unix_nano, parent.duration_nano
        left = below - child_count
        for number, share in enumerate(shares):
            took = int(room * share / sum(shares) * rng.uniform(0.5, 1.0))
            child = _child(rng, len(rows) + 1, parent, at + took // 20, at + took)
            rows.append(child)
            at = parent.start_unix_nano if is_beside else at + took
            budget = left if number == child_count - 1 else rng.randint(0, left // 2)
            left -= budget
            if budget:
                waiting.append((child, budget))
    return rows


def _child(rng: random.Random, number: int, parent: SpanRow, start: int, end: int) -> SpanRow:
    service = rng.choice(list(_CALLS)) if rng.random() < 0.2 else parent.resource.service_name
    is_failed = rng.random() < 0.01
    return row(
        number,
        int.from_bytes(parent.span_id, "big"),
        rng.choice(_CALLS[service]),
        start,
        end,
        resource=resource(service),
        status_code=2 if is_failed else 0,
        is_slow=int(rng.random() < 0.02),
        attributes=f'{{"order.id":"A-{number}","db.statement":"SELECT * FROM carts WHERE id = $1"}}',
        details=SpanDetails(status_message="no answer", error_type="PSPTimeout") if is_failed else None,
    )


def odd_traces(end: int) -> dict[str, list[SpanRow]]:
    """What is odd, each in a trace of its own, by name."""
    at = end - 200 * MS
    root = row(1, None, "root", at, at + 100 * MS, kind=2)
    other = {"resource": resource("stock", "other")}
    traces = {
        "one span": [root],
        "no time": [row(1, None, "root", at, at)],
        "orphans": [
            root,
            row(3, 9, "lost", at + 10 * MS, at + 40 * MS),
            row(4, 3, "below", at + 12 * MS, at + 20 * MS),
        ],
        "no root": [row(3, 9, "lost", at + 10 * MS, at + 40 * MS), row(4, 8, "far", at, at + 5 * MS, flags=0x301)],
        "two roots": [root, row(2, None, "again", at + 120 * MS, at + 150 * MS)],
        "skewed": [
            root,
            row(2, 1, "early", at - 500 * MS, at - 450 * MS, **other),
            row(3, 2, "inner", at - 490 * MS, at - 470 * MS, **other),
        ],
        "overrun": [
            root,
            row(2, 1, "longer", at + 50 * MS, at + 180 * MS),
            row(3, 1, "early", at - 20 * MS, at + 10 * MS),
        ],
        "cycle": [
            row(1, 2, "hen", at, at + 50 * MS),
            row(2, 1, "egg", at + 5 * MS, at + 45 * MS),
            row(3, 3, "self", at, at + 9 * MS),
        ],
        "twins": [
            root,
            row(2, 1, "first", at, at + 20 * MS),
            row(2, 1, "second", at + 30 * MS, at + 50 * MS),
            row(3, 2, "below", at + 35 * MS, at + 40 * MS),
        ],
        "instants": [
            root,
            *(row(number, 1, f"point {number}", at + number * 9 * MS, at + number * 9 * MS) for number in range(2, 9)),
        ],
        "backwards": [root, row(2, 1, "ends before it starts", at + 30 * MS, at + 10 * MS)],
        "deep": [
            row(number, number - 1 or None, f"level {number}", at + number * MS // 10, end - number * MS // 10)
            for number in range(1, 301)
        ],
        "hostile": [
            root._replace(name=HOSTILE * 20),
            row(
                2,
                1,
                "",
                at + MS,
                at + 9 * MS,
                resource=resource(HOSTILE),
                status_code=2,
                attributes=json.dumps({HOSTILE: HOSTILE, "": "", "javascript:alert(1)": [1, {"a": "b"}]}),
                details=SpanDetails(status_message=HOSTILE * 40, error_type=HOSTILE),
            ),
        ],
    }
    return {name: [each._replace(trace_id=odd_id(name)) for each in rows] for name, rows in traces.items()}


def odd_id(name: str) -> bytes:
    """The id of an odd trace."""
    return hashlib.md5(name.encode()).digest()


def record(path: str, rows: Sequence[SpanRow], logs: Sequence[LogRow] = (), running: Sequence[SpanRow] = ()) -> None:
    """Write them into a file, those first that ended first; ``running`` ones as open in this process."""
    writer = SqliteWriter(path)
    try:
        for part in _parts(sorted(rows, key=lambda each: each.end_unix_nano)):
            writer.write(Batch(part, [each.duration_nano for each in part]), timeout_seconds=10)
        if logs:
            writer.write(Batch(logs=logs), timeout_seconds=10)
        if running:
            rows_open = [OpenSpanRow(each, MS, 7, "worker-1") for each in running]
            writer.write(Batch(open_spans=OpenSpans(rows_open)), timeout_seconds=10)
    finally:
        writer.close()


def _parts(rows: Sequence[SpanRow]) -> Iterator[list[SpanRow]]:
    rest = iter(rows)
    while part := list(islice(rest, _AT_ONCE)):
        yield part


if __name__ == "__main__":
    if sys.argv[2] == "odd":
        for odd_name, odd_rows in odd_traces(time.time_ns()).items():
            record(sys.argv[1], odd_rows)
            print(f"/trace/{odd_id(odd_name).hex()} {odd_name}")  # noqa: T201 - that is what it is for
    else:
        record(sys.argv[1], big_trace(int(sys.argv[2])))
        print(f"/trace/{TRACE.hex()}")  # noqa: T201 - as above
