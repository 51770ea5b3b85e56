"""What a page is: an address with parameters, a question to the store, and a template that shows the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from otel_perfmon.moments import iso
from otel_perfmon.query import Window
from otel_perfmon.storage.base import Store
from otel_perfmon.web.api.parameters import WINDOW, Parameter, text
from otel_perfmon.web.pages.address import ALL

WINDOW_DEFAULT: Final = "1h"
WINDOWS: Final = {"15m": "15 m", "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", ALL: "all"}
"""The time ranges that are offered, and how they are written there."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The time that a page is about: ``text`` as it stands in the address, the ``window`` it means (None for all).

    ``told`` is how it is told to the API, where that is not the text.
    """

    text: str
    window: Window | None
    told: str = ""

    @property
    def is_live(self) -> bool:
        """Whether it goes on until now, so that the page changes with it."""
        return "/" not in self.text or self.text.endswith("/")

    @classmethod
    def parse(cls, given: str) -> TimeRange:
        """What an address says. Raises `QueryError`."""
        return cls(given, None if given == ALL else Window.parse(given))

    def begun(self, since_unix_nano: int) -> TimeRange:
        """The same without the time before there was anything, if it goes back that far.

        The last hour of a program that has run for a minute is that minute.
        """
        if self.window is None or "/" in self.text or since_unix_nano <= self.window.start_unix_nano:
            return self
        window = Window(since_unix_nano, max(since_unix_nano, self.window.end_unix_nano))
        return replace(self, window=window, told=f"{iso(since_unix_nano)}/")


class Asked(NamedTuple):
    """What a page was asked: the store, the time range, and the values of its other parameters by name."""

    store: Store
    range: TimeRange
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a parameter."""
        return self.values.get(name, default)

    @property
    def scope(self) -> dict[str, Any]:
        """The service and the window, as questions to a store take them."""
        return {"service": self.get("service"), "window": self.range.window}


class SeeOtherError(Exception):
    """What was asked for is on another page, at ``address``."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


class Page(NamedTuple):
    """A page. ``heading`` is its name in the navigation, empty for one that is not there.

    ``answer`` gives what the template shows, and a ``status`` where it is not 200; what it raises is told on a page of
    its own.
    """

    path: str
    template: str
    answer: Callable[[Asked], Mapping[str, Any]]
    parameters: tuple[Parameter, ...] = ()
    heading: str = ""


class Download(NamedTuple):
    """What a browser saves: ``answer`` gives the file's name, its media type and its content. It may take seconds."""

    path: str
    answer: Callable[[Asked], tuple[str, str, bytes]]
    parameters: tuple[Parameter, ...] = ()


LIVE: Final = text("live", "The time range that it had before it was frozen.")
RANGE: Final = Parameter("window", f"{WINDOW.description} Or all.", TimeRange.parse)
SERVICE: Final = text("service", "Of this service alone.")
