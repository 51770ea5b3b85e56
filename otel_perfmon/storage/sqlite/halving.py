"""A batch that cannot be written as a whole: the parts of it to try apart."""

from __future__ import annotations

from typing import Final

from otel_perfmon.storage.base import Batch

_PARALLEL: Final = (
    *(("spans", "self_nano"), ("kept",), ("counted", "counted_self_nano")),
    *(("edges",), ("points",), ("logs",)),
)
"""The sequences of a batch, with those that run parallel to them."""


def parts_of(batch: Batch) -> list[Batch]:
    """What to try apart: each kind of rows and the account, or both halves of the one kind; nothing of a single row."""
    kinds = [{name: getattr(batch, name) for name in names} for names in _PARALLEL if getattr(batch, names[0])]
    account = [Batch(dropped=batch.dropped, state=batch.state, open_spans=batch.open_spans)]
    if not (batch.dropped or batch.state or batch.open_spans):
        account = []
    if len(kinds) + len(account) > 1:
        return [Batch(**kind) for kind in kinds] + account
    middle = max(len(rows) for rows in kinds[0].values()) // 2 if kinds else 0
    if not middle:
        return []
    halves = slice(None, middle), slice(middle, None)
    return [Batch(**{name: rows[half] for name, rows in kinds[0].items()}) for half in halves]
