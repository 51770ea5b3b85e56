"""How long questions take over a store of a given size, and beside a small one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from itertools import islice
from typing import Final

from otel_perfmon.bench.figures import Figure, Goal, Spread
from otel_perfmon.bench.prepared import DAY_NANO, batch_of, rows_over_a_day
from otel_perfmon.bench.size import used_bytes
from otel_perfmon.errors import ConfigError
from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.storage.base import RetentionPolicy, Store
from otel_perfmon.storage.sqlite.writer import SqliteWriter
from otel_perfmon.storage.url import open_store

SMALL_SPANS: Final = 100_000
"""What larger stores are compared with."""
_HALF_HOUR_NANO: Final = 1_800 * 10**9
_SLOW_SPANS: Final = 50
_BATCH: Final = 16_384
_TOLD_SPANS: Final = 100_000
_TIMEOUT_SECONDS: Final = 60
_SECONDS: Final = DAY_NANO // 10**9
_POLICY: Final = RetentionPolicy(size_max_bytes=2**50)
_GROWTH: Final = Goal(2.0, 1.2)
_GOALS: Final = {"ask_stats": Goal(20, 5), "ask_slow": Goal(10, 3), "ask_trace": Goal(10, 3)}
_TITLES: Final = {
    "ask_stats": "get_stats() over 24 h",
    "ask_slow": "newest 50 slow of one",
    "ask_trace": "one trace by its id",
}


def fill(path: str, count: int, tell: Callable[[str], None], end_unix_nano: int | None = None) -> float:
    """Fill a new store with ``count`` spans over the day until ``end_unix_nano``, or now; spans a second.

    Retention takes none of them.
    """
    begun = time.perf_counter()
    try:
        with closing(SqliteWriter(path, _POLICY)) as writer:
            _write_day(writer, count, time.time_ns() if end_unix_nano is None else end_unix_nano, tell)
    except BaseException:  # Ctrl-C: half a store would be taken for a whole one the next time
        for name in (path, f"{path}-wal", f"{path}-shm", f"{path}.lock"):
            with suppress(OSError):
                os.unlink(name)
        raise
    return count / (time.perf_counter() - begun)


def _write_day(writer: SqliteWriter, count: int, end_unix_nano: int, tell: Callable[[str], None]) -> None:
    rows, done = rows_over_a_day(count, end_unix_nano), 0
    while part := list(islice(rows, _BATCH)):
        writer.write(batch_of(part), timeout_seconds=_TIMEOUT_SECONDS)
        if done // _TOLD_SPANS != (done + len(part)) // _TOLD_SPANS:
            tell(f"{done + len(part):,} of {count:,} spans")
        done += len(part)


def measure_questions(path: str, folder: str, spans: int, rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    """Milliseconds of each question over the store at ``path``, which is filled with ``spans`` if there is none.

    With more than `SMALL_SPANS` spans also the ratios to a store with as many. Raises `ConfigError` for an empty one.
    """
    figures = []
    if not os.path.exists(path):
        rate = fill(path, spans, tell)
        figures.append(Figure("fill_rate", "filling it", "spans/s", Spread.of([rate])))
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(path))]
        spans = stores[0].summarize_store().span_count
        figures.append(Figure("store_spans", "spans in the store", "spans", Spread.of([spans])))
        if spans > SMALL_SPANS:
            small = os.path.join(folder, "small.db")
            # Over the same day: how many cells make up a window depends on the minute at which it begins.
            newest = stores[0].find_spans(SpanQuery(limit=1))[0].end_unix_nano
            fill(small, SMALL_SPANS, lambda _: None, newest)
            stores.append(stack.enter_context(open_store(small)))
        figures += _ask(stores, rounds, tell)
    each = used_bytes(path) / spans
    figures.append(Figure("store_span_bytes", "bytes per span", "bytes", Spread.of([each])))
    return figures


def check_store(path: str) -> None:
    """Raise now what would be raised later: the file at ``path`` is no store of ours, or cannot be made there."""
    if os.path.exists(path):
        with open_store(path) as store:
            _questions(store, _SLOW_SPANS)
    elif not os.path.isdir(os.path.dirname(path)):
        message = f"{path} cannot be made: its folder is not there."
        raise ConfigError(message)


def _ask(stores: list[Store], rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    tell(f"asking {rounds} times")
    asked = [_questions(stores[0], _SLOW_SPANS)]
    if len(stores) > 1:
        # Both answer as many rows: of 100,000 spans 10 slow ones are of an operation, and each row takes its time.
        fewest = min(len(store.find_spans(_slow_of_one(store, _SLOW_SPANS))) for store in stores)
        asked += [_questions(store, max(1, fewest)) for store in stores]
    times: dict[str, list[list[float]]] = {name: [[] for _ in asked] for name in _GOALS}
    for _ in range(rounds + 1):
        for name, columns in times.items():
            for questions, column in zip(asked, columns, strict=True):
                start = time.perf_counter()
                questions[name]()
                column.append((time.perf_counter() - start) * 1e3)
    figures = []
    for name, columns in times.items():
        asked_for, *compared = (column[1:] for column in columns)  # the first time opens the file
        figures.append(Figure(name, _TITLES[name], "ms", Spread.of(asked_for), goal=_GOALS[name]))
        if compared:
            large, small = compared
            ratio = Spread.of([one / other for one, other in zip(large, small, strict=True)])
            title = f"- against {SMALL_SPANS:,} spans"
            base = f"{SMALL_SPANS:,} spans"
            figures.append(Figure(f"{name}_growth", title, "ms", Spread.of(small), ratio, base, _GROWTH))
    return figures


def _slow_of_one(store: Store, limit: int) -> SpanQuery:
    newest = store.find_spans(SpanQuery(limit=1))
    if not newest:
        message = "The store holds no spans: name another one, or a file that is not there, which is filled."
        raise ConfigError(message)
    slow = store.find_spans(SpanQuery(is_slow=True, limit=1)) or newest
    return SpanQuery(operation=slow[0].name, is_slow=True, limit=limit)


def _questions(store: Store, slow_spans: int) -> dict[str, Callable[[], object]]:
    of_operation = _slow_of_one(store, slow_spans)
    # A trace from the middle of the day: the newest one's pages are at hand.
    middle = store.find_spans(SpanQuery(limit=1, window=_until_middle(store))) or store.find_spans(SpanQuery(limit=1))
    trace_id = middle[0].trace_id
    # As if half an hour later: in a program that goes on the window's start cuts through the calls, too.
    newest = store.find_spans(SpanQuery(limit=1))[0].end_unix_nano
    window = Window.last(_SECONDS, now_unix_nano=newest + _HALF_HOUR_NANO)
    return {
        "ask_stats": lambda: store.summarize_operations(window=window),
        "ask_slow": lambda: store.find_spans(of_operation),
        "ask_trace": lambda: store.get_trace(trace_id),
    }


def _until_middle(store: Store) -> Window:
    newest = store.find_spans(SpanQuery(limit=1))[0].end_unix_nano
    return Window(newest - DAY_NANO, newest - DAY_NANO // 2)
