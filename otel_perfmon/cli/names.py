"""Names that people type: whether there is such an operation or service, and which one they may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from otel_perfmon.errors import NotFoundError
from otel_perfmon.storage.base import Store

_LISTED_BY: Final = {"operation": "stats", "service": "stats --by-service"}
_COMPARED_MAX: Final = 2_000
"""Names that a mistyped one is compared with: 10,000 would take a second."""


def check_names(store: Store, *, operation: str | None = None, service: str | None = None) -> None:
    """Raise `NotFoundError` for a name that the store has never seen; asked when an answer is empty.

    A store without any operation is empty, whatever is asked: nothing is raised.
    """
    operations = store.list_operations()
    if not operations:
        return
    if service is not None:
        _check("service", service, store.list_services())
    if operation is not None:
        _check("operation", operation, operations)


def _check(what: str, name: str, names: list[str]) -> None:
    if name in names:
        return
    close = get_close_matches(name, names[:_COMPARED_MAX], 1) or [
        each for each in names if name.lower() in each.lower()
    ]
    hint = f"did you mean {close[0]!r}?" if close else f"'otel-perfmon {_LISTED_BY[what]}' lists what there is."
    message = f"There is no {what} {name!r:.200} in the store; {hint}"
    raise NotFoundError(message)
