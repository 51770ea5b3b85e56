"""The outline of a trace, against the tree of its whole spans, which is the oracle."""

from __future__ import annotations

import random
import time

import pytest
from trace_kit import MS, TRACE, big_trace, record, resource, row

from otel_perfmon import NotFoundError, QueryError, open_store
from otel_perfmon.outline import Mark
from otel_perfmon.storage.rows import SpanDetails
from otel_perfmon.storage.sqlite import outlines
from otel_perfmon.trace import TraceNode

NOW = 1_800_000_000 * 10**9


def odd_trace(rng: random.Random) -> list:
    """A few spans with few ids: twins, orphans, cycles, other clocks, spans that end before they start."""
    rows = []
    for _ in range(rng.randrange(1, 14)):
        start = NOW + rng.randrange(12) * MS
        rows.append(
            row(
                rng.randrange(1, 8),
                rng.choice([None, *range(1, 9)]),
                rng.choice(["a", "b", ""]),
                start,
                start + rng.randrange(-2, 14) * MS,
                resource=resource(rng.choice(["shop", "shop", "stock", ""]), rng.choice(["", "one"])),
                kind=rng.choice([1, 1, 4, 5]),
                flags=rng.choice([1, 0x301]),
                status_code=rng.choice([0, 1, 2]),
                is_slow=rng.randrange(2),
                attributes=rng.choice(["", '{"perfmon.interrupted":true}', '{"a":{"perfmon.interrupted":true}}']),
            )
        )
    return rows


def marks_of(node: TraceNode, nodes: tuple[TraceNode, ...]) -> Mark:
    is_moved = node.parent_index is not None and node.skew_nano != nodes[node.parent_index].skew_nano
    told = {
        Mark.ERROR: node.span.is_error,
        Mark.SLOW: node.span.is_slow,
        Mark.ORPHAN: node.is_orphan,
        Mark.IN_CYCLE: node.is_in_cycle,
        Mark.INTERRUPTED: node.span.is_interrupted,
        Mark.SKEWED: is_moved,
        Mark.REMOTE: node.span.flags & 0x300 == 0x300,
    }
    return Mark(sum(mark for mark, is_so in told.items() if is_so))


def check_outline(path: str) -> None:
    with open_store(path) as store:
        tree, outline = store.get_trace(TRACE.hex()).tree(), store.get_outline(TRACE.hex())
    nodes, start = tree.nodes, tree.start_unix_nano
    assert (outline.start_unix_nano, outline.duration_nano) == (start, tree.end_unix_nano - start)
    assert list(outline.span_ids) == [node.span.span_id for node in nodes]
    assert list(outline.parents) == [-1 if node.parent_index is None else node.parent_index for node in nodes]
    assert list(outline.depths) == [node.depth for node in nodes]
    assert [outline.names[each] for each in outline.name_indexes] == [node.span.name for node in nodes]
    assert [outline.services[each] for each in outline.service_indexes] == [node.span.service for node in nodes]
    assert list(outline.kinds) == [node.span.kind for node in nodes]
    assert list(outline.starts_nano) == [node.start_unix_nano - start for node in nodes]
    assert list(outline.durations_nano) == [node.duration_nano for node in nodes]
    assert list(outline.selfs_nano) == [node.self_nano for node in nodes]
    assert list(outline.skews_nano) == [node.skew_nano for node in nodes]
    assert list(outline.marks) == [marks_of(node, nodes) for node in nodes]
    flat = [number for place, begin, end in tree.critical_path for number in (place, begin - start, end - start)]
    assert list(outline.critical_path) == flat


@pytest.mark.parametrize("seed", range(12))
def test_the_outline_of_an_odd_trace_is_that_of_its_tree(tmp_path, seed):
    path = str(tmp_path / "metrics.db")
    record(path, odd_trace(random.Random(seed)))
    check_outline(path)


def test_the_outline_of_a_large_trace_is_that_of_its_tree(tmp_path):
    path = str(tmp_path / "metrics.db")
    record(path, big_trace(2_000, end=NOW))
    check_outline(path)


def test_a_span_with_a_name_or_a_start_of_its_own_keeps_them(tmp_path):
    path = str(tmp_path / "metrics.db")
    rows = [row(number + 2, 1, f"op-{number}", NOW, NOW + MS) for number in range(2_100)]
    far = row(
        1, None, "far", -(2**62), NOW, duration_nano=0, details=SpanDetails(events='[{"name":"e","time_unix_nano":1}]')
    )
    record(path, [far, *rows])
    check_outline(path)


def test_an_outline_is_the_same_object_until_the_trace_changes(tmp_path):
    path = str(tmp_path / "metrics.db")
    record(path, [row(1, None, "root", NOW, NOW + 9 * MS)])
    with open_store(path) as store:
        first = store.get_outline(TRACE.hex())
        assert store.get_outline(TRACE.hex().upper()) is first
        record(path, [row(2, 1, "late", NOW + MS, NOW + 2 * MS)])
        second = store.get_outline(TRACE.hex())
        assert (len(second), second.version != first.version) == (2, True)


def test_of_large_outlines_only_the_latest_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(outlines, "OUTLINE_SPANS_MAX", 5)
    path = str(tmp_path / "metrics.db")
    ids = [number.to_bytes(16, "big") for number in range(1, 4)]
    for trace_id in ids:
        record(path, [row(number, None, "op", NOW, NOW)._replace(trace_id=trace_id) for number in range(1, 4)])
    with open_store(path) as store:
        first, second = (store.get_outline(each.hex()) for each in ids[:2])
        assert store.get_outline(ids[1].hex()) is second
        assert store.get_outline(ids[0].hex()) is not first


def test_a_text_is_found_in_what_spans_carry(tmp_path):
    path = str(tmp_path / "metrics.db")
    told = SpanDetails(status_message='said "No"', events='[{"name":"Retry","time_unix_nano":1}]')
    rows = [row(1, None, "Load", NOW, NOW), row(2, 1, "b", NOW, NOW, attributes='{"user":"Ada","é":1}', details=told)]
    record(path, rows)
    with open_store(path) as store:
        for text, numbers in {
            "load": [1],
            "ada": [2],
            "É": [2],
            'd "no"': [2],
            "RETRY": [2],
            "o": [1, 2],
            "x": [],
        }.items():
            assert [int(each, 16) for each in store.find_in_trace(TRACE.hex(), text)] == numbers, text


def test_a_span_that_runs_is_in_the_outline_up_to_now(tmp_path):
    path, start = str(tmp_path / "metrics.db"), time.time_ns() - 5 * 10**9
    running = row(1, None, "outer", start, start, attributes='{"cart":7}')
    record(path, [row(2, 1, "inner", start + MS, start + 2 * MS)], running=[running])
    with open_store(path) as store:
        outline = store.get_outline(TRACE.hex())
        assert [outline.names[each] for each in outline.name_indexes] == ["outer", "inner"]
        assert outline.marks == (Mark.RUNNING | Mark.SLOW, 0)
        assert outline.durations_nano[0] >= 5 * 10**9
        assert (outline.stored_count, len(outline)) == (1, 2)
        assert store.get_outline(TRACE.hex()).version != outline.version
        assert [each.span.name for each in store.find_open_spans(trace_id=TRACE.hex())] == ["outer"]
        assert store.find_open_spans(trace_id="0" * 31 + "1") == []


def test_a_trace_that_is_not_there_is_told(tmp_path):
    path = str(tmp_path / "metrics.db")
    record(path, [row(1, None, "root", NOW, NOW + MS)])
    with open_store(path) as store:
        with pytest.raises(NotFoundError, match="never stored"):
            store.get_outline("0" * 31 + "1")
        with pytest.raises(QueryError):
            store.get_outline("xyz")


def test_spans_are_found_by_their_id_in_a_trace(tmp_path):
    path = str(tmp_path / "metrics.db")
    record(path, [row(1, None, "root", NOW, NOW + MS), row(2, 1, "b", NOW + 5, NOW + 6), row(2, 1, "a", NOW, NOW + 9)])
    with open_store(path) as store:
        assert [span.name for span in store.find_trace_spans(TRACE.hex(), ["0" * 15 + "2"])] == ["a", "b"]
        assert store.find_trace_spans(TRACE.hex(), ["0" * 15 + "3"]) == []
