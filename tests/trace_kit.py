"""Traces of any size and oddity, straight into a store: ``python tests/trace_kit.py FILE SPANS`` makes one."""

from __future__ import annotations

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
    services = list(_CALLS)
    rows = [row(1, None, "POST /checkout", start, start + length, kind=2, is_slow=1)]
    open_to = [rows[0].start_unix_nano]
    while len(rows) < count:
        number = rng.randrange(max(0, len(rows) - 200), len(rows)) if rng.random() < 0.9 else rng.randrange(len(rows))
        parent = rows[number]
        room = parent.end_unix_nano - open_to[number]
        if room < 20_000:
            number, parent, room = 0, rows[0], rows[0].end_unix_nano - open_to[0]
        begin = open_to[number] + rng.randrange(max(1, room // 40))
        took = rng.randrange(1, max(2, min(room // 3, length // 20)))
        service = services[rng.randrange(4)] if rng.random() < 0.2 else parent.resource.service_name
        failed = rng.random() < 0.01
        rows.append(
            row(
                len(rows) + 1,
                int.from_bytes(parent.span_id, "big"),
                rng.choice(_CALLS[service]),
                begin,
                min(parent.end_unix_nano, begin + took),
                resource=resource(service),
                status_code=2 if failed else 0,
                is_slow=int(rng.random() < 0.02),
                attributes=f'{{"order.id":"A-{len(rows)}","db.statement":"SELECT * FROM carts WHERE id = $1"}}',
                details=SpanDetails(status_message="no answer", error_type="PSPTimeout") if failed else None,
            )
        )
        # Sometimes the next one runs beside this one.
        open_to[number] = begin if rng.random() < 0.2 else rows[-1].end_unix_nano
        open_to.append(begin)
    return rows


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
    record(sys.argv[1], big_trace(int(sys.argv[2])))
    print(f"/trace/{TRACE.hex()}")  # noqa: T201 - that is what it is for
