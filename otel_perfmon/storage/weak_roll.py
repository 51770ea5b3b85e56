"""Things that are looked through while other threads add some, and that nobody keeps alive here.

A `weakref.WeakSet` is gone through by Python's own loop, which breaks off when a thread adds to it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar
from weakref import ref

_Thing = TypeVar("_Thing")


class WeakRoll(Generic[_Thing]):
    """Each thing once, by identity, for as long as it lives; in the order in which they came."""

    def __init__(self) -> None:
        self._references: dict[int, ref[Any]] = {}

    def add(self, thing: _Thing) -> None:
        """Have it among them."""
        key = id(thing)
        self._references[key] = ref(thing, lambda _: self._references.pop(key, None))

    def discard(self, thing: _Thing) -> None:
        """Have it among them no more."""
        self._references.pop(id(thing), None)

    def __iter__(self) -> Iterator[_Thing]:
        """Those that are there now; others may come and go meanwhile."""
        things = [reference() for reference in self._references.copy().values()]  # the copy is one call of C
        return iter([thing for thing in things if thing is not None])
