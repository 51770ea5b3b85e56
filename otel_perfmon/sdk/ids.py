"""Trace ids that begin with their time, so that an index over them grows at its right edge.

48 bits of milliseconds since 1970, then 80 random bits: W3C Trace Context Level 2 asks that the last 56 bits be random
for the random flag. The generator has a `random.Random` of its own: under ``random.seed(0)`` in the program the SDK's
ids repeat with every run.
"""

from __future__ import annotations

import os
import random
import time
import weakref

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


class TimeOrderedIdGenerator(RandomIdGenerator):
    """Random span ids and time-ordered trace ids. Any number of threads; reseeded after a fork."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - ids are not secrets
        self._bits = self._random.getrandbits
        _generators.add(self)

    def reseed(self) -> None:
        """Go on with other ids than the parent process."""
        self._random.seed()

    def generate_span_id(self) -> int:
        """64 random bits, never 0."""
        return self._bits(64) or 1

    def generate_trace_id(self) -> int:
        """48 bits of milliseconds since 1970, then 80 random ones."""
        return ((time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80 | self._bits(80)) or 1

    def is_trace_id_random(self) -> bool:
        """True: the last 56 bits are random."""
        return True


_generators: weakref.WeakSet[TimeOrderedIdGenerator] = weakref.WeakSet()


def _reseed_all() -> None:
    for generator in list(_generators):
        generator.reseed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed_all)
