"""A week of a store: a flood of ordinary spans, rare slow and failed traces, a giant trace, a late import."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from storage_kit import NOW_S, SECOND, ask, ask_one, span_bytes, span_row, trace_bytes, write

from otel_perfmon.query import Window
from otel_perfmon.storage.base import RetentionPolicy
from otel_perfmon.storage.recorder import BATCH_MAX
from otel_perfmon.storage.sqlite.retention import KEPT_TRACE_SPANS_MAX
from otel_perfmon.storage.sqlite.writer import SqliteWriter

HOUR, DAY = 3_600, 86_400
SIZE_MAX = 48 * 1024 * 1024
TEXT = '{"note":"' + "x" * 200 + '"}'


class Week:
    """Writes what each hour brings and lets the writer do its housekeeping, as a recorder does each minute."""

    def __init__(self, writer: SqliteWriter, clock, giant_size: int) -> None:
        self.writer, self.clock, self.giant_size = writer, clock, giant_size
        self.written = Counter()
        self.kept_traces: dict[bytes, list[bytes]] = {}
        self.sizes: list[int] = []
        self._trace = 0

    def run(self) -> None:
        for hour in range(7 * 24):
            self.clock.now = float(NOW_S + hour * HOUR)
            self.write([self.span("ordinary") for _ in range(300)])
            if hour % 6 == 0:
                self.write_kept("slow", {"slow": True})
                self.write_kept("failed", {"error": f"no user {hour}"})
            if hour == 30:
                self.write_giant()
            if hour == 60:
                old = int((self.clock.now - 20 * DAY) * SECOND)
                self.write([self.span("imported", end=old + i) for i in range(500)])
            self.tidy()

    def span(self, name, **changes):
        self._trace += 1
        changes = {"end": int(self.clock.now * SECOND), "trace_id": trace_bytes(self._trace), **changes}
        return span_row(name, attributes=TEXT, **changes)

    def write(self, rows) -> None:
        for start in range(0, len(rows), BATCH_MAX):
            part = rows[start : start + BATCH_MAX]
            write(self.writer, *part)
            self.written.update(row.name for row in part)
            if self.writer.is_over_size:
                self.tidy()

    def write_kept(self, name, flag) -> None:
        """A trace whose grandchild is slow or failed, among ordinary spans that are kept for its sake."""
        self._trace += 1
        trace = {"trace_id": trace_bytes(self._trace)}
        rows = [
            self.span(f"{name} sibling", parent=span_bytes(1), span_id=span_bytes(10 + i), **trace) for i in range(20)
        ]
        rows.append(self.span(name, parent=span_bytes(2), span_id=span_bytes(3), **trace, **flag))
        rows.append(self.span(f"{name} parent", parent=span_bytes(1), span_id=span_bytes(2), **trace))
        rows.append(self.span(f"{name} root", span_id=span_bytes(1), **trace))
        self.write(rows)
        self.kept_traces[trace["trace_id"]] = [row.span_id for row in rows]

    def write_giant(self) -> None:
        trace = {"trace_id": trace_bytes(10**6)}
        rows = [
            self.span("giant child", parent=span_bytes(1), span_id=span_bytes(1000 + i), **trace)
            for i in range(self.giant_size)
        ]
        rows.append(self.span("giant slow", parent=span_bytes(2), span_id=span_bytes(3), slow=True, **trace))
        rows.append(self.span("giant parent", parent=span_bytes(1), span_id=span_bytes(2), **trace))
        rows.append(self.span("giant root", span_id=span_bytes(1), **trace))
        self.write(rows)

    def tidy(self) -> None:
        while self.writer.maintain():
            self.note_size()
        self.note_size()

    def note_size(self) -> None:
        path = self.writer.path
        self.sizes.append(sum(os.stat(name).st_size for name in (path, path + "-wal") if os.path.exists(name)))


@pytest.mark.parametrize("giant_size", [20_000, pytest.param(200_000, marks=pytest.mark.long)])
def test_each_tier_keeps_what_it_says_for_a_week(db_path, store, clock, giant_size):
    writer = SqliteWriter(db_path, RetentionPolicy(HOUR, 7 * DAY, SIZE_MAX))
    week = Week(writer, clock, giant_size)
    day_one = Window(NOW_S * SECOND, (NOW_S + DAY) * SECOND)

    week.run()

    clock.now += 60
    week.tidy()
    stored = Counter(name for (name,) in ask(db_path, "SELECT name FROM spans"))
    assert stored["ordinary"] <= 300, "ordinary spans of the last hour"
    assert stored["imported"] == 0, "an import has its hour, not more"
    for trace_id, span_ids in week.kept_traces.items():
        found = {row[0] for row in ask(db_path, "SELECT span_id FROM _spans WHERE trace_id = ?", trace_id)}
        assert found == set(span_ids), "a trace worth keeping is whole"
    assert {name: stored[name] for name in ("giant slow", "giant parent", "giant root")} == {
        "giant slow": 1,
        "giant parent": 1,
        "giant root": 1,
    }
    assert stored["giant child"] <= KEPT_TRACE_SPANS_MAX

    counts = {stats.operation: stats.count for stats in store.summarize_operations()}
    assert counts == week.written, "statistics outlive the spans they were counted from"
    (errors,) = store.summarize_errors(operation="failed")
    assert errors.count == week.written["failed"]
    ordinary = store.summarize_operations(operation="ordinary", window=day_one)[0]
    assert ordinary.count == 24 * 300

    assert max(week.sizes) <= 1.1 * SIZE_MAX, "the file stays within its limit"
    assert week.sizes[-1] < max(week.sizes) / 2 or max(week.sizes) < SIZE_MAX / 4, "and gives its space back"
    kept, pruned = ask(db_path, "SELECT sum(stored), sum(pruned) FROM _health")[0]
    assert kept - pruned == sum(stored.values()) == ask_one(db_path, "SELECT count(*) FROM _spans")
    writer.close()


def test_the_next_week_all_spans_are_gone_and_the_figures_stay(db_path, store, clock):
    writer = SqliteWriter(db_path, RetentionPolicy(HOUR, 7 * DAY, SIZE_MAX))
    week = Week(writer, clock, 2_000)
    week.write_kept("slow", {"slow": True})
    week.write_giant()
    before = store.summarize_operations()
    clock.now += 8 * DAY
    week.tidy()
    assert ask_one(db_path, "SELECT count(*) FROM _spans") == 0
    assert store.summarize_operations() == before
    assert [each.count for each in store.summarize_series("slow").points if each.count] == [1]
    clock.now += 100 * DAY
    week.tidy()
    assert store.summarize_operations() == [], "after 90 days the figures go too"
    assert ask_one(db_path, "SELECT count(*) FROM _rollups") == 0
    writer.close()
