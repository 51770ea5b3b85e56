"""What is small as a request and large as objects is refused before any of it is made."""

from __future__ import annotations

import gzip

import pytest

from otel_perfmon.otlp.messages import LOGS, METRICS, TRACES
from otel_perfmon.otlp.receiver import bounds
from otel_perfmon.otlp.receiver.answers import PROTOBUF, RefusedError
from otel_perfmon.otlp.receiver.bounds import ITEMS_MAX, VALUES_MAX, excess_of
from otel_perfmon.otlp.receiver.intake import Intake, Signal
from otel_perfmon.otlp.wire import varint

KINDS = {"traces": TRACES, "metrics": METRICS, "logs": LOGS}
RECORD, POINT, TRUTH = b"\x12\x02\x10\x01", b"\x0a\x02\x30\x01", b"\x0a\x02\x10\x01"
ATTRIBUTE = b"\x4a\x07\x0a\x01k\x12\x02\x10\x01"


def within(*numbers: int, content: bytes) -> bytes:
    """Messages in each other, by their fields' numbers from the outside."""
    for number in reversed(numbers):
        content = bytes((number << 3 | 2,)) + varint(len(content)) + content
    return content


def logs_of(count: int) -> bytes:
    return within(1, 2, content=RECORD * count)


BOMBS = {
    "log records": ("logs", logs_of(300_000), "items"),
    "resources of logs": ("logs", b"\x0a\x02\x1a\x00" * 300_000, "items"),
    "data points": ("metrics", within(1, 2, 2, 10, content=POINT * 300_000), "items"),
    "metrics": ("metrics", within(1, 2, content=b"\x12\x02\x0a\x00" * 300_000), "items"),
    "spans": ("traces", within(1, 2, content=b"\x12\x02\x30\x01" * 300_000), "items"),
    "values in an array": ("logs", within(1, 2, 2, 5, 5, content=TRUTH * 260_000), "values"),
    "attributes of a span": ("traces", within(1, 2, 2, content=ATTRIBUTE * 130_000), "values"),
    "buckets": ("metrics", within(1, 2, 2, 10, 1, 8, 2, content=b"\x01" * 1_100_000), "values"),
}


class Untouched:
    """A decoder that must not be asked."""

    def decode_protobuf(self, data):
        raise AssertionError("it was decoded")


class Unlost:
    def lose(self, *lost):
        raise AssertionError("nothing came")


@pytest.mark.parametrize("bomb", BOMBS)
def test_too_many_of_anything_are_refused_before_one_of_them_is_decoded(bomb, monkeypatch):
    monkeypatch.setattr(bounds, "VALUES_MAX", 200_000)
    name, data, what = BOMBS[bomb]
    assert len(gzip.compress(data, 1)) < 40_000
    intake = Intake(Signal(name, Untouched, len, "rejected"), Unlost())
    try:
        with pytest.raises(RefusedError, match=rf"may have [0-9,]+ {what}") as caught:
            intake.decode(data, PROTOBUF)
    finally:
        intake.close()
    assert caught.value.status == 413


def test_as_many_as_are_allowed_are_taken():
    assert excess_of(LOGS, logs_of(ITEMS_MAX)) == ""
    assert excess_of(LOGS, logs_of(ITEMS_MAX + 1)) == "250,000 items"
    doubles = within(1, 2, 2, 9, 1, 7, content=bytes(8 * (VALUES_MAX - 1)))  # the histogram is one
    assert excess_of(METRICS, doubles) == ""
    assert excess_of(METRICS, doubles + within(1, 2, 2, 9, 1, 7, content=bytes(8))) == "4,000,000 values"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("tail", [b"\x0a", b"\x0a\xff", b"\x0a\x05ab", b"\x0f", b"\xff" * 11, b"\x08\xff", b"\x0a\x80"])
def test_what_is_no_otlp_is_left_to_who_decodes_it(kind, tail):
    assert excess_of(kind, b"\x1a\x08harmless" * 200_000 + tail) == ""


def test_so_is_what_lies_deeper_than_protobuf_reads():
    value = bytes(9_000_000)
    for _ in range(200):
        value = within(5, 1, content=value)
    assert excess_of(LOGS, within(1, 2, 2, 5, content=value)) == ""
