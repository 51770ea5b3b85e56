"""Whatever a file holds, it is read or told what is wrong: nothing else is raised, nothing hangs, every row fits."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import signal
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import zstandard
from records_kit import span_record

from otel_perfmon.errors import OtlpError
from otel_perfmon.formats.jaeger_encoding import encode_jaeger_json
from otel_perfmon.formats.reading import LOOK_BYTES, read_spans
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import encode_json_lines, encode_protobuf_messages
from otel_perfmon.otlp.zstd import ZstdReader
from otel_perfmon.records import EventRecord, LinkRecord
from otel_perfmon.storage.base import Batch
from otel_perfmon.storage.sqlite.writer import SqliteWriter

FUZZ_SECONDS = pytest.mark.parametrize("seconds", [4, pytest.param(120, marks=pytest.mark.long)])
"""For each of the five kinds of files: 20 seconds together, 10 minutes in the long form."""
HANGS_SECONDS = 10

SPANS = [
    span_record(
        span_id=f"{number:016x}",
        parent_span_id=f"{number + 1:016x}",
        status_code=number % 3,
        is_error=number % 3 == 2,
        attributes={"a": "é", "n": number, "f": 0.5, "l": ("x", (1, None)), "b": b"\0", "m": {"k": True}},
        events=(EventRecord("exception", 5, {"exception.type": "E", "exception.message": "m"}),),
        links=(LinkRecord("c" * 32, "d" * 16, "a=b", 0x301, {"k": 1}),),
    )
    for number in range(1, 4)
]
ZIPKIN = [
    {
        "traceId": "1" * 32, "parentId": "2" * 16, "id": "3" * 16, "kind": "CLIENT", "name": "get", "timestamp": 10,
        "duration": 5, "debug": True, "shared": True,
        "localEndpoint": {"serviceName": "a", "ipv4": "1.2.3.4", "port": 1},
        "remoteEndpoint": {"serviceName": "b", "ipv6": "::1"},
        "annotations": [{"timestamp": 3, "value": '"e": {"k": 1}'}],
        "tags": {"error": "why", "otel.status_code": "ERROR", "otel.dropped_events_count": "3"},
    }
]  # fmt: skip
ODD = (
    None, True, False, -1, 0, 2**31, 2**63, 2**64, 10**30, 1e308, -0.0, "", "x", "\ud800", "\0", "9" * 5_000, "NaN",
    "-5", "ff" * 16, "0" * 32, "traceID", "é" * 70_000, [], {}, [[]], [{}], [None], {"": None}, {"key": 1},
    {"stringValue": 5}, {"arrayValue": {"values": [{}]}},
    {"kvlistValue": {"values": [{"key": "@bytes", "value": {"stringValue": "x"}}]}},
)  # fmt: skip
ALPHABET = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\",
    b"\0",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"-",
    b"1e9",
    b"NaN",
)


def nested(depth: int):
    value: object = 1
    for number in range(depth):
        value = [value] if number % 2 else {"values": value}
    return value


def places(value, path=()) -> Iterator[tuple]:
    """The way to each place in a value."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def change_value(document, dice: random.Random):
    """The document with some of its places changed."""
    document = copy.deepcopy(document)
    for _ in range(dice.randint(1, 4)):
        path = dice.choice(list(places(document)))
        if not path:
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        odd = nested(dice.randint(1, 300)) if dice.random() < 0.1 else copy.deepcopy(dice.choice(ODD))
        what = dice.random()
        if what < 0.7:
            parent[path[-1]] = odd
        elif what < 0.85 and isinstance(parent, dict):
            parent[str(dice.choice(("traceId", "spans", "data", "tags", "x")))] = odd
        else:
            del parent[path[-1]]
    return document


def change_bytes(data: bytes, dice: random.Random) -> bytes:
    """The bytes with some of them changed, cut out, doubled or put in."""
    found = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at, to = sorted((dice.randint(0, len(found)), dice.randint(0, len(found))))
        to = min(to, at + 40)
        what = dice.randrange(5)
        if what == 0 and found:
            found[at % len(found)] ^= 1 << dice.randrange(8)
        elif what == 1:
            del found[at:to]
        elif what == 2:
            found[at:at] = found[at:to]
        elif what == 3:
            found[at:at] = dice.choice(ALPHABET)
        elif dice.random() < 0.3:
            del found[at:]
    return bytes(found)


def of_json(document) -> Callable[[random.Random], bytes]:
    def make(dice: random.Random) -> bytes:
        changed = change_value(document, dice) if dice.random() < 0.7 else document
        text = json.dumps(changed, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, None, 1)))
        data = text.encode("utf-8", "surrogatepass")
        return data if dice.random() < 0.6 else change_bytes(data, dice)

    return make


def of_protobuf(dice: random.Random) -> bytes:
    (data,) = encode_protobuf_messages([SPANS])
    if dice.random() < 0.3:
        return struct.pack(">I", 200) + dice.randbytes(200)
    changed = change_bytes(data[4:], dice)
    return (struct.pack(">I", len(changed)) if dice.random() < 0.8 else b"") + changed


def of_zstd(dice: random.Random) -> bytes:
    plain = dice.choice((of_protobuf, of_json(json.loads(JSON_LINE))))(dice)
    packed = zstandard.ZstdCompressor().compress(plain)
    packed = packed if dice.random() < 0.5 else change_bytes(packed, dice)
    return struct.pack(">I", len(packed)) + packed


JSON_LINE = b"".join(encode_json_lines([SPANS]))
KINDS = {
    "otlp-json": of_json(json.loads(JSON_LINE)),
    "otlp-proto": of_protobuf,
    "jaeger": of_json(json.loads(b"".join(encode_jaeger_json([SPANS])))),
    "zipkin": of_json(ZIPKIN),
    "zstd": of_zstd,
}


@pytest.fixture
def limited():
    """Break off, with a `TimeoutError`, what takes too long."""

    def too_long(*_):
        message = f"it took longer than {HANGS_SECONDS} s"
        raise TimeoutError(message)

    before = signal.signal(signal.SIGALRM, too_long)
    yield lambda: signal.alarm(HANGS_SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read(data: bytes) -> tuple[list, int]:
    """The rows in a file, and how many places of it could not be read."""
    rows, bad_count = [], 0
    for piece in read_spans(io.BufferedReader(io.BytesIO(data), LOOK_BYTES), SpanDecoder(10**9), 10**9):
        rows += piece.rows
        if piece.error is not None:
            bad_count += 1
            assert "\n" not in str(piece.error)
            assert len(str(piece.error)) < 400
    return rows, bad_count


@FUZZ_SECONDS
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_changed_anywhere_is_read_or_told_what_is_wrong(kind, seconds, figure, limited, db_path):
    writer = SqliteWriter(db_path)
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    longest = 0.0
    while time.monotonic() < deadline:
        seen["files"] += 1
        data = KINDS[kind](random.Random(f"{kind} {seen['files']}"))
        limited()
        began = time.monotonic()
        try:
            rows, bad_count = read(data)
            seen["unstorable rows"] += writer.write(Batch(rows, [row.duration_nano for row in rows]), timeout_seconds=5)
        except BaseException:
            figure(f"fuzz {kind}: the file that broke it", f"number {seen['files']}: {data[:2_000]!r}")
            raise
        longest = max(longest, time.monotonic() - began)
        seen["rows"] += len(rows)
        seen["bad places"] += bad_count
    writer.close()
    told = ", ".join(f"{count:,} {what}" for what, count in seen.items())
    figure(f"fuzz {kind}: crashes, hangs, unstorable rows", f"0, 0, {seen['unstorable rows']} ({told})", "0, 0, 0")
    figure(f"fuzz {kind}: the longest", f"{longest:.2f} s", f"< {HANGS_SECONDS} s")
    assert seen["unstorable rows"] == 0
    assert seen["rows"] > 0 < seen["bad places"]


def _deep(opening: bytes, closing: bytes) -> bytes:
    return opening * 200_000 + b"1" + closing * 200_000


SPAN_START = b'{"traceId":"1","id":"2","name":'
BOMBS = {
    "arrays in arrays": _deep(b"[", b"]"),
    "objects in objects": _deep(b'{"data":', b"}"),
    "traces in traces": _deep(b'{"data":[', b"]}"),
    "values in values": b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":'
    + b'{"arrayValue":{"values":[' * 50_000
    + b"]}}" * 50_000
    + b"}]}}]}",
    "an attribute that is nested deep in protobuf": b"\0" + b"\n\xff\xff\xff\x07" * 1_000,
    "a number of 10 million digits": b'[{"traceId":"1","id":"2","timestamp":' + b"9" * 10_000_000 + b"}]",
    "a text of 10 million characters": b"[" + SPAN_START + b'"' + b"x" * 10_000_000 + b'"}]',
    "a text without an end": b"[" + SPAN_START + b'"' + b"x" * 10_000_000,
    "very many empty spans": b"[" + b"{}," * 200_000 + b"{}]",
    "lines that are nested in each other": b'{"traceId":\n' * 50_000,
    "very many tags": b'{"traceID":"1","spanID":"2","tags":{' + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}}",
    "spaces": b" " * 10_000_000 + b'{"traceId":1}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_made_to_exhaust_is_read_in_bounded_time_and_memory(name, figure, limited):
    limited()
    began = time.monotonic()
    tracemalloc.start()
    try:
        rows, _ = read_some(BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    figure(f"bomb: {name}", f"{time.monotonic() - began:.1f} s, {peak:.0f} MiB", f"< {HANGS_SECONDS} s, < 400 MiB")
    assert rows <= 1
    assert peak < 400


def read_some(data: bytes) -> tuple[int, int]:
    """How many rows and bad places there are, of which none is kept."""
    rows = bad_count = 0
    for piece in read_spans(io.BufferedReader(io.BytesIO(data), LOOK_BYTES), SpanDecoder(10**9), 10**9):
        rows += len(piece.rows)
        bad_count += piece.error is not None
    return rows, bad_count


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_a_file_that_inflates_a_thousandfold_costs_no_memory(pack, figure, limited):
    packed = io.BytesIO()
    piece = pack(b"x" * 2**26)
    for _ in range(4):
        packed.write(piece)
    packed.seek(0)
    unpacked = gzip.GzipFile(fileobj=packed) if pack is gzip.compress else ZstdReader(packed)
    tracemalloc.start()
    began = time.monotonic()
    try:
        file = io.BufferedReader(unpacked, LOOK_BYTES)
        pieces = list(read_spans(file, SpanDecoder(0), 0))
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    name = "gzip" if pack is gzip.compress else "zstd"
    figure(f"bomb: 256 MiB in {packed.tell():,} bytes of {name}", f"{time.monotonic() - began:.1f} s, {peak:.0f} MiB")
    assert [str(piece.error) for piece in pieces] == ["It has more than 67,108,864 bytes."]
    assert peak < 300


def test_frames_that_were_changed_are_told(figure, limited):
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(JSON_LINE * 20)
    errors: Counter[str] = Counter()
    for number in range(2_000):
        limited()
        changed = change_bytes(packed, random.Random(number))
        try:
            io.BufferedReader(ZstdReader(io.BytesIO(changed))).read()
        except (OSError, EOFError, OtlpError, zlib.error) as error:
            errors[type(error).__name__] += 1
    figure("2,000 changed frames of zstd: told", dict(errors))
    assert errors.total() > 1_500
