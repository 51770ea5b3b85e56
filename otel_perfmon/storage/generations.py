"""A dict that forgets: bounded, and O(1) to keep so."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Generations(Generic[_K, _V]):
    """Two generations: when the young one is full it becomes the old one, and the old one is forgotten.

    What is asked for becomes young again. Values must not be None.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._young: dict[_K, _V] = {}
        self._old: dict[_K, _V] = {}

    def get(self, key: _K) -> _V | None:
        """The value, or None."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.set(key, value)
        return value

    def pop(self, key: _K) -> _V | None:
        """Take the value out, or None."""
        young, old = self._young.pop(key, None), self._old.pop(key, None)
        return young if young is not None else old

    def set(self, key: _K, value: _V) -> None:
        """Keep the value; up to ``size_max`` later ones do not displace it."""
        if len(self._young) >= self._size_max:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def update(self, pairs: Iterable[tuple[_K, _V]]) -> None:
        """Keep all those values, of which there are few against ``size_max``."""
        if len(self._young) >= self._size_max:
            self._old, self._young = self._young, {}
        self._young.update(pairs)

    def has_none_of(self, keys: Collection[_K]) -> bool:
        """Whether none of those keys has a value."""
        return self._young.keys().isdisjoint(keys) and self._old.keys().isdisjoint(keys)

    def __bool__(self) -> bool:
        return bool(self._young or self._old)
