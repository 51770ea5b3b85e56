"""Find: from what somebody typed to the page that is meant, a trace's or an operation's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_perfmon.errors import QueryError
from otel_perfmon.web.api.parameters import text
from otel_perfmon.web.pages.address import address
from otel_perfmon.web.pages.page import Asked, Page, SeeOtherError

_PREFIX_DIGITS_MIN: Final = 6
"""With fewer digits a word such as ``add`` would be taken for the beginning of a trace's id."""


def _answer(asked: Asked) -> Mapping[str, Any]:
    given = asked.get("q", "").strip()
    carried = {"window": asked.range.text, "service": asked.get("service")}
    if trace_id := _trace_id(asked, given):
        raise SeeOtherError(address(f"/trace/{trace_id}", {}.items()))
    names = asked.store.list_operations()
    found = [name for name in names if given.casefold() in name.casefold()]
    if given in names or len(found) == 1:
        name = given if given in names else found[0]
        raise SeeOtherError(address("/operation", {"operation": name, **carried}.items()))
    raise SeeOtherError(address("/", {"find": given, **carried}.items()))


def _trace_id(asked: Asked, given: str) -> str:
    """The trace whose id begins so, if there is exactly one."""
    if len(given) < _PREFIX_DIGITS_MIN:
        return ""
    try:
        found = asked.store.find_trace_ids(given)
    except QueryError:  # it is no id
        return ""
    return found[0] if len(found) == 1 else ""


PAGES: Final = (Page("/find", "", _answer, (text("q", "A name or a part of it, or the beginning of a trace's id."),)),)
