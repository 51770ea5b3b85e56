"""A small shop in a store, and what a command printed about it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from storage_kit import NOW_S, SpanRow, batch, edge_row, resource_row, span_bytes, span_row

from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.sqlite.writer import SqliteWriter

SECOND = 10**9
MESSAGE = "card-gateway-{} timed out after 30 s"
STACK = 'Traceback (most recent call last):\n  File "/srv/shop/gateway.py", line 118, in charge\nTimeoutError: {}\n'
HOSTILE = (
    "two\nlines",
    "\x1b[31mred\x1b[0m and \x9b31m",
    "\u202eright to left\u202c",
    "שלום עולם",
    "[bold]markup[/bold]",
    "tab\there",
    "zero\u200bwidth\ufeff",
    "文字" * 30,
    "x" * 300,
    "",
)
"""Names that somebody may give to an operation."""


@dataclass(frozen=True)
class Printed:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def items(self) -> Any:
        return self.json["items"]


def trace_of(number: int) -> bytes:
    """The id of a trace of the shop: its first 12 digits tell it from the others."""
    return number.to_bytes(6, "big") + bytes(10)


def error_row(name: str, number: int, **changes: Any) -> SpanRow:
    """A call that failed, with its exception."""
    message = MESSAGE.format(number)
    attributes = {
        "exception.type": "TimeoutError",
        "exception.message": message,
        "exception.stacktrace": STACK.format(message),
    }
    events = json.dumps([{"name": "exception", "time_unix_nano": 1, "attributes": attributes}])
    return span_row(name, **{"error": message, "error_type": "TimeoutError", "events": events, **changes})


def record_shop(path: str, *, now: int | None = None, traces: int = 40) -> None:
    """Forty carts within the last ten minutes, every tenth of which could not be charged, the last two slowly.

    The root of each trace `GET /cart` takes n + 10 ms in trace n, of which `charge` takes 8 ms. A cart's size is n % 5.
    """
    now = time.time_ns() if now is None else now
    rows, self_nano = [], []
    for number in range(1, traces + 1):
        end = now - (traces - number) * 15 * SECOND - SECOND
        root, child = span_bytes(number), span_bytes(number + 10_000)
        slow = number > traces - 2
        ids = {"trace_id": trace_of(number), "resource": resource_row()}
        call = {"span_id": child, "parent": root, "end": end - SECOND // 1000, "ms": 8.0, **ids}
        rows.append(error_row("charge", number, **call) if number % 10 == 0 else span_row("charge", **call))
        attributes = json.dumps({"cart.size": number % 5, "user.name": f"user {number}"})
        rows.append(
            span_row("GET /cart", span_id=root, end=end, ms=number + 10.0, slow=slow, attributes=attributes, **ids)
        )
        self_nano += [8_000_000, (number + 2) * 1_000_000]
    hour = now // SECOND // 3600 * 3600
    edges = [edge_row("GET /cart", "charge", hour=hour, count=traces, nano=traces * 8_000_000)]
    write(path, Batch(rows, self_nano, edges))


def record(path: str, *rows: SpanRow) -> None:
    """Rows as they are."""
    write(path, batch(*rows))


def write(path: str, content: Batch) -> None:
    writer = SqliteWriter(path)
    try:
        writer.write(content, timeout_seconds=5)
    finally:
        writer.close()


def age(path: str, seconds: int) -> None:
    """As if all that is there had arrived so much earlier."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _arrivals SET unix_s = unix_s - ?", (seconds,))


__all__ = [
    "HOSTILE",
    "NOW_S",
    "SECOND",
    "Printed",
    "error_row",
    "record",
    "record_shop",
    "span_row",
    "trace_of",
    "write",
]
