"""The HTTP status of what went wrong."""

from __future__ import annotations

from typing import Final

from otel_perfmon.errors import NotFoundError, PerfmonError, QueryError

_STATUSES: Final = {QueryError: 400, NotFoundError: 404}
_UNAVAILABLE: Final = 503


def status_of(error: PerfmonError) -> int:
    """400 for a question that makes no sense, 404 for what is not there, 503 where the store could not answer."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), _UNAVAILABLE)
