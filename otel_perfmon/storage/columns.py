"""Span rows kept column by column.

A batch comes as columns from the doors, and SQLite, the rollups and the lineage take columns: a row for each span in
between would be made only to be taken apart, and be an object more for the garbage collector to visit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final, overload

from otel_perfmon.storage.rows import STATUS_ERROR, SpanRow

_WIDTH: Final = len(SpanRow._fields)


class SpanColumns(Sequence[SpanRow]):
    """A sequence of `SpanRow`, which are made for who asks for one. ``columns`` are in the order of its fields."""

    __slots__ = ("columns",)

    def __init__(self, columns: Sequence[list[Any]]) -> None:
        self.columns = columns

    @classmethod
    def of(cls, rows: Sequence[SpanRow]) -> SpanColumns:
        """Rows as columns."""
        if isinstance(rows, cls):
            return rows
        return cls([list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(_WIDTH)])

    @classmethod
    def joined(cls, parts: Sequence[SpanColumns]) -> SpanColumns:
        """All rows of ``parts``, one part after another."""
        if len(parts) == 1:
            return parts[0]
        parted = zip(*(part.columns for part in parts), strict=True) if parts else ((),) * _WIDTH
        return cls([list(chain.from_iterable(each)) for each in parted])

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, index: int) -> SpanRow: ...
    @overload
    def __getitem__(self, index: slice) -> SpanColumns: ...
    def __getitem__(self, index: int | slice) -> SpanRow | SpanColumns:
        if isinstance(index, slice):
            return SpanColumns([column[index] for column in self.columns])
        return SpanRow._make(column[index] for column in self.columns)

    def pick(self, numbers: Sequence[int]) -> SpanColumns:
        """The rows of those numbers, which ascend."""
        if len(numbers) == len(self):
            return self
        return SpanColumns([list(map(column.__getitem__, numbers)) for column in self.columns])

    def sorted_by(self, keys: Sequence[int]) -> SpanColumns:
        """The rows by their keys, which run parallel, the least first."""
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return SpanColumns([list(map(column.__getitem__, order)) for column in self.columns])

    def failed(self) -> Iterable[int]:
        """The numbers of the rows whose span failed."""
        statuses = self.columns[_STATUS]
        return (number for number, status in enumerate(statuses) if status == STATUS_ERROR)

    @property
    def altered_count(self) -> int:
        """How many rows have parts that were cut or replaced."""
        return sum(1 for details in self.columns[-1] if details is not None and details.altered)


_STATUS: Final = SpanRow._fields.index("status_code")
