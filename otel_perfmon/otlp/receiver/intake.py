"""One request's way into the store, whichever protocol brought it: unpacked, decoded, committed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from otel_perfmon.errors import DecodeError, StoreError
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.log_decoding import LogDecoder
from otel_perfmon.otlp.messages import LOGS, METRICS, TRACES, Kind
from otel_perfmon.otlp.metric_decoding import MetricDecoder
from otel_perfmon.otlp.receiver.answers import JSON, RefusedError
from otel_perfmon.otlp.receiver.bodies import Body
from otel_perfmon.otlp.receiver.bounds import ITEMS_MAX, VALUES_MAX, excess_of
from otel_perfmon.otlp.receiver.commits import Commits, WriteFirst
from otel_perfmon.storage.arrivals import Arrivals
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.recorder import Recorder

_LARGE_BYTES: Final = 2 * 1024 * 1024
"""Requests from this size on are unpacked and decoded on a thread of their own: 64 MiB take half a minute."""
_JSON_MARKS: Final = (b",", b"{", b"[")
_KINDS: Final = {"traces": TRACES, "metrics": METRICS, "logs": LOGS}
_logger = logging.getLogger("otel_perfmon")


class Received(NamedTuple):
    """What a request held: rows to be stored, and how many items are refused."""

    rows: Sequence[Any]
    rejected_count: int = 0
    message: str = ""


class Decoder(Protocol):
    """Makes rows of the items of one signal; one thread at a time."""

    def decode_protobuf(self, data: bytes) -> Iterator[Any]:
        """The rows of a request; `DecodeError` for what is none."""

    def decode_json(self, text: bytes) -> Iterator[Any]:
        """The same of OTLP's JSON."""


class Signal(NamedTuple):
    """One of OTLP's signals: how requests with it are decoded and kept."""

    name: str
    make_decoder: Callable[[], Decoder]
    write_first: WriteFirst
    rejected_name: str

    @property
    def kind(self) -> Kind:
        """Its messages."""
        return _KINDS[self.name]

    @property
    def path(self) -> str:
        """Where it is received over HTTP."""
        return f"/v1/{self.name}"


def signals_of(recorder: Recorder, store: Store, slow_threshold_nano: int) -> list[Signal]:
    """The signals that a store keeps."""
    return [
        Signal(
            "traces", partial(SpanDecoder, slow_threshold_nano), Arrivals(recorder, store).write_first, "rejectedSpans"
        ),
        Signal("metrics", MetricDecoder, recorder.write_points, "rejectedDataPoints"),
        Signal("logs", LogDecoder, recorder.write_logs, "rejectedLogRecords"),
    ]


class Intake:
    """Takes requests with one signal. Any number of threads, or of an event loop's tasks."""

    def __init__(self, signal: Signal, recorder: Recorder) -> None:
        self.signal = signal
        self._recorder = recorder
        self._decoders = threading.local()
        self._commits = Commits(signal.write_first)
        self._small, self._large = (ThreadPoolExecutor(1, f"otel-perfmon-{signal.name}") for _ in range(2))

    async def take_in(self, body: Body, coding: str, media_type: str) -> Received:
        """Unpack a body, decode it and commit what it holds, all of it on other threads than the event loop's.

        Raises `RefusedError` for what cannot be read, and `StoreError` for what cannot be stored.
        """
        loop = asyncio.get_running_loop()
        unpacked = body.whole() if coding == "identity" else await self._unpack(body, coding)
        pool = self._small if len(unpacked) < _LARGE_BYTES else self._large
        received, committed = await loop.run_in_executor(pool, self._decode_and_commit, unpacked, media_type)
        await asyncio.wrap_future(committed)
        return received

    async def _unpack(self, body: Body, coding: str) -> bytes:
        """Without its coding. What is large, or turns out to be, does not keep the small ones waiting."""
        loop = asyncio.get_running_loop()
        unpacked = None
        if body.size_bytes < _LARGE_BYTES:
            unpacked = await loop.run_in_executor(self._small, body.unpack, coding, _LARGE_BYTES)
        if unpacked is None:
            unpacked = await loop.run_in_executor(self._large, body.unpack, coding)
        assert unpacked is not None  # no body may have more
        return unpacked

    def decode(self, unpacked: bytes, media_type: str) -> Received:
        """What a request holds, on this thread; `RefusedError` when it cannot be read."""
        decoder = self._decoder()
        before = _refusals_of(decoder)
        try:
            rows = list(islice(self._decoded(decoder, unpacked, media_type), ITEMS_MAX + 1))
        except RefusedError:
            raise
        except DecodeError as error:
            raise RefusedError(400, str(error)) from error
        except MemoryError as error:
            raise RefusedError(503, "There is no memory for that much at once.") from error
        except Exception as error:  # a rim: nothing that is sent may end in a 500, which would say it is our fault
            _logger.exception("A request could not be decoded.")
            raise RefusedError(400, f"The request could not be decoded: {type(error).__name__}.") from error
        if len(rows) > ITEMS_MAX:
            raise _too_many(f"{ITEMS_MAX:,} items")
        refused = _refusals_of(decoder) - before
        message = "; ".join(f"{count:,} span{'s' * (count > 1)} {fault}" for fault, count in refused.most_common())
        return Received(rows, sum(refused.values()), message and f"{message}.")

    def commit(self, received: Received) -> Future[None]:
        """Have it stored; the future is done when it is committed, or raises the `StoreError` that prevents it."""
        future = self._commits.submit(received.rows)
        if received.rejected_count:
            self._recorder.lose("invalid_ids", received.rejected_count, "their ids are missing, or are none")
        return future

    def close(self) -> None:
        """Commit what waits, and end."""
        self._small.shutdown()
        self._large.shutdown()
        self._commits.stop()

    def _decode_and_commit(self, unpacked: bytes, media_type: str) -> tuple[Received, Future[None]]:
        received = self.decode(unpacked, media_type)
        return received, self.commit(received)

    def _decoded(self, decoder: Decoder, unpacked: bytes, media_type: str) -> Iterator[Any]:
        if media_type == JSON:
            _check_json(unpacked)
            return decoder.decode_json(unpacked)
        if excess := excess_of(self.signal.kind, unpacked):
            raise _too_many(excess)
        return decoder.decode_protobuf(unpacked)

    def _decoder(self) -> Decoder:
        if not hasattr(self._decoders, "of_thread"):
            self._decoders.of_thread = self.signal.make_decoder()
        decoder: Decoder = self._decoders.of_thread
        return decoder


def _refusals_of(decoder: Decoder) -> Counter[str]:
    """What the decoder has left out so far; of points and log records it leaves out none."""
    return Counter(getattr(decoder, "refusals", None))


def refusal_of(error: StoreError) -> RefusedError:
    """What a sender is told when not all that it sent could be stored: to come again."""
    count = error.stored_count
    return RefusedError(503, f"{f'Only a first part ({count:,} items)' if count else 'Nothing'} was stored: {error}")


def _check_json(data: bytes) -> None:
    """Refuse what is small as a request, and large as objects."""
    if len(data) >= _LARGE_BYTES and sum(map(data.count, _JSON_MARKS)) > VALUES_MAX:
        raise _too_many(f"{VALUES_MAX:,} values")


def _too_many(limit: str) -> RefusedError:
    return RefusedError(413, f"A request may have {limit}; send fewer items at once.")
