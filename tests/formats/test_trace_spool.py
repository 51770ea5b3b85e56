"""What is put together by trace is all there, be it held in memory or on the disk."""

from __future__ import annotations

import pytest

from otel_perfmon.formats.trace_spool import TraceSpool

PIECES = [(f"{number % 7:032x}", b"%d" % number * (number % 5)) for number in range(500)]


@pytest.mark.parametrize("room", [10**9, 500, 0])
def test_each_trace_has_its_pieces_in_their_order(room):
    expected: dict[str, list[bytes]] = {}
    with TraceSpool(room) as spool:
        for trace_id, piece in PIECES:
            spool.add(trace_id, piece)
            expected.setdefault(trace_id, []).append(piece)
        found = list(spool.traces())
    assert dict(found) == expected
    assert len(found) == 7


def test_traces_that_fit_into_memory_come_as_they_began():
    with TraceSpool() as spool:
        for trace_id in ("b", "a", "b", "c"):
            spool.add(trace_id, b"")
        assert [trace_id for trace_id, _ in spool.traces()] == ["b", "a", "c"]
