"""Find: from what somebody typed to the page that is meant, a trace's or an operation's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.errors import QueryError
from otel_perfmon.web.api.parameters import text
from otel_perfmon.web.pages.address import address
from otel_perfmon.web.pages.page import Asked, Page, SeeOtherError

_PREFIX_DIGITS_MIN: Final = 6
"""With fewer digits a word such as ``add`` would be taken for the beginning of a trace's id."""
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\S*", re.ASCII)
"""The header of W3C's Trace Context, as it stands in many a log."""


def _answer(asked: Asked) -> Mapping[str, Any]:
    given = asked.get("q", "").strip()
    names = asked.store.list_operations()
    name = _meant(given, names)
    if name != given and (trace := _trace_address(asked, given.lower())):
        raise SeeOtherError(trace)
    if name is not None:
        raise SeeOtherError(address("/operation", {"operation": name, **_carried(asked, name)}.items()))
    raise SeeOtherError(address("/", {"find": given, **_carried(asked)}.items()))


def _meant(given: str, names: list[str]) -> str | None:
    """The operation of that name, else the only one whose name is that but for capitals, or has it in it."""
    if not given or given in names:
        return given or None
    folded = given.casefold()
    found = [name for name in names if folded in name.casefold()]
    same = [name for name in found if folded == name.casefold()]
    return next((each[0] for each in (same, found) if len(each) == 1), None)


def _carried(asked: Asked, operation: str | None = None) -> dict[str, Any]:
    """The time and the service, unless it is one without that operation."""
    service = asked.get("service")
    is_elsewhere = operation is not None and operation not in asked.store.list_operations(service=service)
    return {"window": asked.range.text, "service": None if is_elsewhere else service}


def _trace_address(asked: Asked, given: str) -> str:
    """Where the trace is whose id that is, or whose id alone begins so; empty for none."""
    if header := _TRACEPARENT.fullmatch(given):
        return address(f"/trace/{header[1]}", {"span": header[2]}.items())
    if _TRACE_ID.fullmatch(given):
        return f"/trace/{given}"
    if len(given) < _PREFIX_DIGITS_MIN:
        return ""
    try:
        found = asked.store.find_trace_ids(given)
    except QueryError:  # it is no id
        return ""
    if len(found) > 1 and not any(given in name.lower() for name in asked.store.list_operations()):
        message = f"More than one trace begins with {given}: give more digits of its id."
        raise QueryError(message)
    return f"/trace/{found[0]}" if len(found) == 1 else ""


PAGES: Final = (
    Page("/find", "", _answer, (text("q", "A name or a part of it, a trace's id or its beginning, a traceparent."),)),
)
