"""The scales: what waits in the queue weighs, so that spans with huge attributes cannot take all memory.

The queue is bounded by number for the caller's sake, who looks at its length alone, and here by weight. Entries are
weighed once, some hundred at a time: only what has come since, and fewer at a time when they are heavy.

Nothing here waits for a lock: a signal handler may record, and be weighed, in the midst of it. Two threads that weigh
at once find the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from sys import getsizeof
from typing import Any, Final

QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""What waits may weigh about so much; beyond, the caller helps to write as when it is too many."""
UNWEIGHED_MAX: Final = 256
"""So many entries, at most, may wait that have not been weighed."""
_UNWEIGHED_SHARE: Final = 1 / 4
_PORTIONS_MAX: Final = 256
_DEPTH_MAX: Final = 6
_ITEMS_LOOKED_AT: Final = 1_000
_ITEM_BYTES: Final = 100
_SMALL: Final = frozenset((int, float, bool, type(None)))

_Portion = tuple[int, int]
"""How many entries were weighed together, and their weight."""


class Scales:
    """Weighs a flat queue of entries of ``width`` places; ``weigh`` tells what some of them weigh together.

    An entry whose last place is None is as light as can be, and weighs ``light_bytes``.
    """

    def __init__(self, queue: deque[Any], width: int, weigh: Callable[[list[Any]], int], light_bytes: int) -> None:
        self.taken_count = 0
        """How many entries were ever taken from the front."""
        self._queue = queue
        self._width = width
        self._weigh = weigh
        self._light_bytes = light_bytes
        self._weighed: tuple[int, list[_Portion]] = (0, [])
        self.at_once_max = UNWEIGHED_MAX
        """So many entries of the weight that they have of late may be unweighed, or be read at once."""

    def room_count(self) -> int:
        """How many entries there may be before the queue is to be weighed again; 0 when it is too heavy."""
        waiting_count = len(self._queue) // self._width
        weight = self.weigh()
        return 0 if waiting_count and weight >= QUEUE_BYTES_MAX else waiting_count + self.at_once_max

    def weigh(self) -> int:
        """What all that waits weighs, in bytes."""
        taken_count, (seen_count, portions) = self.taken_count, self._weighed
        waiting_count = len(self._queue) // self._width
        portions = _without_first(portions, taken_count - seen_count)
        new_count = waiting_count - sum(count for count, _ in portions)
        if new_count < 0:  # some were taken that we have not been told of yet
            portions, new_count = [], waiting_count
        if new_count:
            weight = self._weigh_newest(new_count)
            portions.append((new_count, weight))
            share = int(QUEUE_BYTES_MAX * _UNWEIGHED_SHARE) * new_count // max(1, weight)
            self.at_once_max = max(1, min(UNWEIGHED_MAX, share))
        total = sum(weight for _, weight in portions)
        if len(portions) > _PORTIONS_MAX:
            portions = [(waiting_count, total)]
        self._weighed = taken_count, portions
        return total

    def _weigh_newest(self, count: int) -> int:
        try:
            # Each is one call of C, in which no other thread can change the queue; between them one may take from it.
            lasts = map(self._queue.__getitem__, range(-1, -count * self._width - 1, -self._width))
            if next(filter(None, lasts), None) is None:
                return count * self._light_bytes
            newest = list(islice(reversed(self._queue), count * self._width))
        except (IndexError, RuntimeError):  # taken already; or changed meanwhile, in a Python without the GIL
            return 0
        newest.reverse()
        return self._weigh(newest)


def weight_of(value: Any, depth: int = _DEPTH_MAX) -> int:
    """About how many bytes a value keeps in memory, told from the outer levels and the first items of it."""
    kind = type(value)
    if kind is str:
        return getsizeof(value)
    if kind in _SMALL:  # asking the abstract classes takes a microsecond
        return _ITEM_BYTES
    if isinstance(value, (str, bytes, bytearray)):
        return getsizeof(value)
    if not depth or not isinstance(value, (Mapping, Sequence)):
        return _ITEM_BYTES
    items = value.items() if isinstance(value, Mapping) else value
    weight = sum(weight_of(each, depth - 1) for each in islice(items, _ITEMS_LOOKED_AT))
    return _ITEM_BYTES + weight * max(1, len(value) // _ITEMS_LOOKED_AT)


def _without_first(portions: list[_Portion], count: int) -> list[_Portion]:
    """What is left when so many entries are taken from the front."""
    left: list[_Portion] = []
    for portion_count, weight in portions:
        taken_count = min(portion_count, count)
        count -= taken_count
        if taken_count < portion_count:
            left.append((portion_count - taken_count, weight * (portion_count - taken_count) // portion_count))
    return left
