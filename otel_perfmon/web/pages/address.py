"""Addresses of pages: this one with something changed, or another one about the same time and service."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final
from urllib.parse import quote, urlencode

from otel_perfmon.moments import iso
from otel_perfmon.query import Window

CARRIED: Final = ("window", "live", "service")
"""What stays the same from page to page."""
PASSING: Final = ("page_token", "reached", "patient")
"""How far a list was turned: no longer true when something else is changed."""
ALL: Final = "all"
"""The time range that is none."""


class Address:
    """The address of the page that is shown; ``given`` are its parameters as they stand there, ``window`` its range.

    The range is that of questions to the API, which know no ``all``.
    """

    def __init__(self, path: str, given: Iterable[tuple[str, str]], window: str) -> None:
        self._path = path
        self._window = window
        self._given = [pair for pair in given if pair[1]]

    def here(self, **changes: Any) -> str:
        """The address of this page with other parameters; one that is None or empty goes."""
        return self.same(self._path, **changes)

    def same(self, path: str, **changes: Any) -> str:
        """That of another page which is asked the same, but for the changes."""
        return address(path, [*self._kept(changes), *changes.items()])

    def adding(self, name: str, value: str) -> str:
        """The same with one more value of a parameter that may stand several times."""
        return address(self._path, [*self._kept(()), (name, value)])

    def without(self, name: str, value: str) -> str:
        """The same without that parameter of that value."""
        return address(self._path, [pair for pair in self._kept(()) if pair != (name, value)])

    def _kept(self, changes: Collection[str]) -> list[tuple[str, str]]:
        return [pair for pair in self._given if pair[0] not in changes and pair[0] not in PASSING]

    def to(self, path: str, **parameters: Any) -> str:
        """That of another page, about the same time and service unless these are among the parameters."""
        carried = [pair for pair in self._given if pair[0] in CARRIED and pair[0] not in parameters]
        return address(path, [*carried, *parameters.items()])

    def api(self, path: str, **parameters: Any) -> str:
        """That of a question to the API about the same time and service; an ``operation`` may have an empty name."""
        scope = {"service": dict(self._given).get("service"), "window": None if self._window == ALL else self._window}
        found = address(path, {**scope, **parameters}.items())
        if parameters.get("operation") == "":
            found += f"{'&' if '?' in found else '?'}operation="
        return found

    def only(self, *names: str) -> list[tuple[str, str]]:
        """The parameters of these names, as they stand in the address."""
        return [pair for pair in self._given if pair[0] in names]

    def beside(self, *names: str) -> list[tuple[str, str]]:
        """All but those: what a form with fields of these names sends along."""
        return [pair for pair in self._given if pair[0] not in names]


def window_text(window: Window) -> str:
    """A window as an address has it."""
    return f"{iso(window.start_unix_nano)}/{iso(window.end_unix_nano)}"


def address(path: str, parameters: Iterable[tuple[str, Any]]) -> str:
    """A path with a query; parameters that are None or empty are left out."""
    pairs = [(name, _text(value)) for name, value in parameters if value is not None and value != ""]
    query = urlencode(pairs, quote_via=quote, safe="/:", errors="replace")
    return f"{path}?{query}" if query else path


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
