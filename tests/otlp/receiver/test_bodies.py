"""Bodies are unpacked piece by piece, at a cost that grows as they do, and the large ones apart from the small ones."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib

import pytest
import zstandard

from otel_perfmon.otlp.receiver import bodies
from otel_perfmon.otlp.receiver.answers import JSON, RefusedError
from otel_perfmon.otlp.receiver.bodies import Body, Room
from otel_perfmon.otlp.receiver.intake import Intake, Signal

MIB = 1024 * 1024
NOISE = random.Random(1).randbytes(4 * MIB)
EMPTY = {"gzip": gzip.compress(b""), "zstd": zstandard.compress(b"")}
PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}


def body_of(packed: bytes, room: Room | None = None) -> Body:
    body = Body(room or Room())
    for start in range(0, len(packed), 100_000):
        body.add(packed[start : start + 100_000])
    return body


class Copying:
    """A decompressor that counts what it hands back of what it is fed: all of that are copies."""

    copied_bytes = 0

    def __init__(self, window: int) -> None:
        self._unpacker = zlib.decompressobj(window)

    def decompress(self, data, bytes_max):
        piece = self._unpacker.decompress(data, bytes_max)
        Copying.copied_bytes += len(self._unpacker.unconsumed_tail) + len(self._unpacker.unused_data)
        return piece

    def __getattr__(self, name):
        return getattr(self._unpacker, name)


class Zlib:
    """The module, with that."""

    decompressobj = Copying

    def __getattr__(self, name):
        return getattr(zlib, name)


@pytest.mark.parametrize(
    ("coding", "packed", "size"),
    [
        ("gzip", EMPTY["gzip"] * 998 + gzip.compress(NOISE), len(NOISE)),
        ("gzip", gzip.compress(bytes(60 * MIB)) + gzip.compress(NOISE), 64 * MIB),
        ("deflate", zlib.compress(NOISE, 0), len(NOISE)),
    ],
    ids=["members", "zeros", "stored"],
)
def test_what_is_left_of_a_body_is_not_copied_for_each_piece_and_member(monkeypatch, coding, packed, size):
    monkeypatch.setattr(bodies, "zlib", Zlib())
    monkeypatch.setattr(Copying, "copied_bytes", 0)
    assert len(body_of(packed).unpack(coding)) == size
    assert Copying.copied_bytes < 1_100 * 64 * 1024  # of each member less than a slice: whole rests would be 4 GiB


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_that_end_anywhere_in_a_slice_are_put_together(coding):
    rng = random.Random(2)
    parts = [NOISE[: rng.choice([0, 1, 1_000, 65_535, 65_536, 65_537, 200_000])] for _ in range(60)]
    assert body_of(b"".join(map(PACK[coding], parts))).unpack(coding) == b"".join(parts)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_more_members_than_anybody_makes_are_refused(coding):
    with pytest.raises(RefusedError, match=r"members|frames"):
        body_of(EMPTY[coding] * 1_001).unpack(coding)


@pytest.mark.parametrize("coding", PACK)
def test_unpacking_pauses_where_it_is_told_to_and_gives_back_all_that_it_took(coding):
    room = Room(16 * MIB)
    for _ in range(3):
        body = body_of(PACK[coding](NOISE), room)
        assert body.unpack(coding, MIB) is None
        assert body.unpack(coding) == NOISE
        body.close()
    room.take(16 * MIB)


class Blank:
    """Finds nothing in whatever comes."""

    def decode_json(self, _):
        return iter(())


@pytest.mark.parametrize(
    ("data", "pools"),
    [(b" " * 1000, [0]), (NOISE[: MIB // 2], [0]), (NOISE, [1]), (b" " * 8 * MIB, [0, 1])],
    ids=["small", "half a MiB", "large", "small that turns out large"],
)
def test_what_is_large_is_unpacked_on_the_thread_of_the_large_ones(monkeypatch, data, pools):
    intake = Intake(Signal("traces", Blank, lambda *_: None, "rejectedSpans"), None)
    threads = []
    body = body_of(gzip.compress(data))
    unpack = body.unpack

    def told(*arguments):
        threads.append(threading.get_ident())
        return unpack(*arguments)

    monkeypatch.setattr(body, "unpack", told)
    try:
        asyncio.run(intake.take_in(body, "gzip", JSON))
        own = [pool.submit(threading.get_ident).result() for pool in (intake._small, intake._large)]
    finally:
        intake.close()
    assert threads == [own[number] for number in pools]
