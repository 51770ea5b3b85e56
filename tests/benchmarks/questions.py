"""What questions cost: over ten thousand spans, and over a million.

Run:  python tests/benchmarks/questions.py [--short] [--keep FILE]

Fills a store with the spans of a shop (50 operations, 1 % failed, 0.5 % slow, over the last day), then prints for each
question the median time, the steps that SQLite's machine took and the rows looked at; and for whole commands, in
interleaved rounds, the time from start to end beside that of `otel-perfmon --version` and of Python importing what they
stand on; last, for a store that is not kept, how long pruning a tenth of it holds the write lock at once. A
row takes SQLite 10 to 30 steps.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from otel_perfmon import SpanQuery, Store, Window, open_store
from otel_perfmon.storage.base import Batch, RetentionPolicy
from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.lineage import Lineage
from otel_perfmon.storage.maintenance import remove_in_steps
from otel_perfmon.storage.rows import ResourceRow, ScopeRow, SpanDetails, SpanRow
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.writer import SqliteWriter

OPERATIONS = 50
SPANS_PER_TRACE = 10
SECONDS = 86_400
BATCH = 4_096
SECOND = 10**9
ROUNDS = 7
RESOURCE = ResourceRow("shop", "1.0", "test", '{"service.name":"shop","service.version":"1.0"}')
SCOPE = ScopeRow("benchmark", "", "", "{}")
MESSAGES = ("no user {}", "disk full", "timeout after {} s", "cart {} is empty")


def spans(count: int, end_unix_nano: int) -> Iterator[SpanRow]:
    """The spans of traces that end one after another over a day; children before their parents."""
    rng = random.Random(1)
    traces = count // SPANS_PER_TRACE
    for trace in range(traces):
        end = end_unix_nano - (traces - trace) * SECONDS * SECOND // traces
        kind = rng.randrange(OPERATIONS // SPANS_PER_TRACE)
        trace_id = end.to_bytes(8, "big") + trace.to_bytes(8, "big")
        total = 0
        for place in reversed(range(SPANS_PER_TRACE)):
            own = int(rng.lognormvariate(15, 1.2))
            total += own
            duration = total if place == 0 else own
            yield span(rng, trace_id, kind, place, (end - (place > 0) * 1000, duration))


def span(rng: random.Random, trace_id: bytes, kind: int, place: int, times: tuple[int, int]) -> SpanRow:
    end, duration = times
    is_error, is_slow = rng.random() < 0.01, rng.random() < 0.005
    message = rng.choice(MESSAGES).format(rng.randrange(1000)) if is_error else ""
    return SpanRow(
        trace_id=trace_id,
        span_id=(place + 1).to_bytes(8, "big"),
        parent_span_id=b"" if place == 0 else (1).to_bytes(8, "big"),
        is_parent_remote=False,
        name=f"operation-{kind * SPANS_PER_TRACE + place:02}",
        resource=RESOURCE,
        scope=SCOPE,
        kind=1,
        flags=0x101,
        start_unix_nano=end - duration,
        end_unix_nano=end,
        duration_nano=duration,
        status_code=2 if is_error else 0,
        is_slow=int(is_slow),
        attributes=f'{{"cart.items":{rng.randrange(20)},"customer":"c{rng.randrange(100_000)}"}}',
        details=SpanDetails(message, "ValueError", message) if is_error else None,
    )


def fill(path: str, count: int) -> float:
    """Write the spans; how many a second."""
    began = time.perf_counter()
    writer, lineage = SqliteWriter(path, RetentionPolicy(size_max_bytes=2**40)), Lineage()
    rows: list[SpanRow] = []

    def flush() -> None:
        columns = SpanColumns.of(rows)
        own: list[int] = []
        lineage.add_self_times(columns, own)
        writer.write(Batch(columns, own, lineage.take_edges()), timeout_seconds=5)
        rows.clear()

    for row in spans(count, time.time_ns()):
        rows.append(row)
        if len(rows) == BATCH:
            flush()
    flush()
    writer.close()
    return count / (time.perf_counter() - began)


class Steps:
    """How many steps SQLite's machine takes, counted on every connection that is opened."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self) -> None:
        connect = connections.connect

        def watched(path: str, mode: str) -> sqlite3.Connection:
            connection = connect(path, mode)
            connection.set_progress_handler(self._step, 100)
            return connection

        connections.connect = watched

    def _step(self) -> int:
        self.count += 100
        return 0


def questions(store: Store) -> dict[str, Callable[[], object]]:
    hour, day = Window.last(3600), Window.last(86_400)
    quarter = Window(hour.end_unix_nano - 1_200 * SECOND, hour.end_unix_nano - 300 * SECOND)
    operation = "operation-01"
    trace_id = store.find_spans(SpanQuery(limit=1))[0].trace_id
    span_questions = {
        "newest 100": SpanQuery(),
        "newest of an operation": SpanQuery(operation=operation),
        "newest slow": SpanQuery(is_slow=True),
        "slowest slow": SpanQuery(is_slow=True, order="slowest"),
        "newest failed of an operation": SpanQuery(operation=operation, is_error=True),
        "by error type": SpanQuery(error_type="ValueError", window=hour),
        "oldest of an hour": SpanQuery(order="oldest", window=hour),
        "of a service": SpanQuery(service="shop"),
        "slowest of an operation": SpanQuery(operation=operation, order="slowest"),
        "slowest of an operation, 24 h": SpanQuery(operation=operation, order="slowest", window=day),
        "slowest of all": SpanQuery(order="slowest"),
        "slowest of all, 24 h": SpanQuery(order="slowest", window=day),
        "in a box, of an operation": SpanQuery(
            operation=operation, order="slowest", window=quarter, min_duration_ms=5, max_duration_ms=50
        ),
        "in a box, of all": SpanQuery(order="slowest", window=quarter, min_duration_ms=5, max_duration_ms=50),
        "newest of a duration": SpanQuery(operation=operation, window=day, min_duration_ms=50, max_duration_ms=60),
        "longer than 1 s": SpanQuery(min_duration_ms=1000),
        "by attribute, found": SpanQuery(attributes={"cart.items": 3}),
        "by attribute, absent": SpanQuery(attributes={"cart.items": 99}),
        "a trace's": SpanQuery(trace_id=trace_id),
    }
    asked: dict[str, Callable[[], object]] = {
        name: lambda query=query: store.find_spans(query) for name, query in span_questions.items()
    }
    return asked | {
        "trace": lambda: store.get_trace(trace_id),
        "trace ids": lambda: store.find_trace_ids(trace_id[:6]),
        "operations, all time": store.summarize_operations,
        "operations, 1 h": lambda: store.summarize_operations(window=hour),
        "operations, 24 h": lambda: store.summarize_operations(window=day),
        "counts of 50, 24 h": lambda: store.summarize_counts(
            [f"operation-{i:02}" for i in range(OPERATIONS)], window=day
        ),
        "series of one, 24 h": lambda: store.summarize_series(operation, window=day),
        "heatmap of one, 24 h": lambda: store.summarize_heatmap(operation, window=day),
        "heatmap of all, 24 h": lambda: store.summarize_heatmap(window=day),
        "distribution": lambda: store.summarize_distribution(operation),
        "calls of one": lambda: store.summarize_calls(operation=operation),
        "calls, 24 h": lambda: store.summarize_calls(window=day),
        "errors": store.summarize_errors,
        "errors, 24 h": lambda: store.summarize_errors(window=day),
        "store": store.summarize_store,
    }


def ask(path: str) -> None:
    steps = Steps()
    steps.watch()
    with open_store(path) as store:
        print(f"{'question':32s} {'ms':>8s} {'steps':>10s} {'rows':>8s}  complete")
        for name, question in questions(store).items():
            times = []
            for _ in range(ROUNDS):
                began, steps.count = time.perf_counter(), 0
                answer = question()
                times.append((time.perf_counter() - began) * 1000)
            rows = getattr(answer, "rows_read", "")
            is_complete = getattr(answer, "is_complete", True)
            print(f"{name:32s} {statistics.median(times):8.2f} {steps.count:10,d} {rows!s:>8s}  {is_complete}")


def run_commands(path: str) -> None:
    """Whole commands, interleaved: the machine's noise falls on all of them alike."""
    foreign = "argparse, fractions, inspect, json, logging, sqlite3, uuid, hashlib, opentelemetry.context"
    foreign += ", rich.align, rich.console, rich.text, rich.theme, importlib.metadata"
    base = [sys.executable, "-c", f"import {foreign}"]
    program = [sys.executable, "-m", "otel_perfmon"]
    commands = {
        "python importing what is not ours": base,
        "--version": [*program, "--version"],
        "stats": [*program, "stats"],
        "stats --window 1h": [*program, "stats", "--window", "1h"],
        "stats OPERATION": [*program, "stats", "operation-01"],
        "slow": [*program, "slow"],
        "slow --order slowest": [*program, "slow", "--order", "slowest"],
        "trace last": [*program, "trace", "last"],
        "trace slowest OPERATION": [*program, "trace", "slowest", "operation-01"],
        "errors": [*program, "errors"],
        "heatmap OPERATION": [*program, "heatmap", "operation-01"],
        "check": [*program, "check"],
    }
    environment = {**os.environ, "OTEL_PYTHON_PERFMON_PATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            began = time.perf_counter()
            result = subprocess.run(command, env=environment, capture_output=True, check=False)
            times[name].append(time.perf_counter() - began)
            assert result.returncode in {0, 1}, result.stderr.decode()
    print(f"{'command':36s} {'median s':>8s} {'ours s':>8s}")
    others = statistics.median(times["python importing what is not ours"])
    for name, each in times.items():
        whole = statistics.median(each)
        print(f"{name:36s} {whole:8.3f} {whole - others:8.3f}")


def prune_tenth(path: str) -> None:
    """Prune the tenth of the spans that arrived first; how long each hold of the write lock took."""
    held, holds = FileLock.held, []

    @contextmanager
    def timed(lock: FileLock, timeout_seconds: float) -> Iterator[None]:
        with held(lock, timeout_seconds):
            began = time.perf_counter()
            try:
                yield
            finally:
                holds.append((time.perf_counter() - began) * 1000)

    with closing(connections.open_reader(path)) as connection:
        first, last = connection.execute("SELECT min(id), max(id) FROM _spans").fetchone()
    FileLock.held = timed
    writer = SqliteWriter(path)
    writer.prune(RetentionPolicy(size_max_bytes=2**50))  # opens the file
    day = RetentionPolicy(retention_seconds=SECONDS, keep_seconds=7 * SECONDS, size_max_bytes=2**50)
    tenth = first + (last - first) // 10
    writer._retention._last_id_arrived_before = lambda unix_s: tenth if unix_s > time.time() - 2 * SECONDS else 0
    holds.clear()
    count = remove_in_steps(lambda: writer.prune(day))
    writer.close()
    FileLock.held = held
    print(
        f"pruned {count:,d}: {len(holds)} holds, median {statistics.median(holds):.1f} ms, longest {max(holds):.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="10,000 spans instead of a million")
    parser.add_argument("--keep", metavar="FILE", help="the store to fill, or to ask again, and not to delete")
    arguments = parser.parse_args()
    count = 10_000 if arguments.short else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or str(Path(folder) / "questions.db")
        if not os.path.exists(path):
            rate = fill(path, count)
            print(f"{count:,d} spans, {rate:,.0f} a second, {os.stat(path).st_size / 2**20:.0f} MiB")
        ask(path)
        run_commands(path)
        if not arguments.keep:
            prune_tenth(path)


if __name__ == "__main__":
    main()
