"""Searching spans for a page: for as long as a reader waits gladly; then it is said how far the search has come.

What no index serves is looked at span by span. The page does so in slices of time, one after the other from the end
that is shown first, each about as wide as can be looked at in a moment.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from otel_perfmon.query import SpanQuery, Window
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import Store

SECONDS_MAX: Final = 0.05
PATIENT_SECONDS_MAX: Final = 2.0
"""So long is looked, and so long where somebody asked to go on."""
_SLICE_SECONDS: Final = 0.012
_NANO: Final = 10**9
_FIRST_WIDTH_NANO: Final = _NANO
_GROWTH_MAX: Final = 3.0
_GROWTH_MIN: Final = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """What a page shows. ``further`` are the parameters with which the search goes on, empty where nothing follows.

    If it is not ``is_complete``, it stopped at the moment ``reached_unix_nano``, after ``rows_read`` spans.
    """

    spans: tuple[SpanRecord, ...]
    is_complete: bool
    rows_read: int
    further: Mapping[str, Any] = field(default_factory=dict)
    reached_unix_nano: int | None = None


def search(store: Store, query: SpanQuery, *, reached: int | None = None, is_patient: bool = False) -> Found:
    """The spans that match. ``reached`` is the moment at which an earlier page stopped."""
    if not _is_looked_at(query):
        page = store.find_spans(query)
        is_more = page.next_page_token is not None
        return Found(
            page.spans, page.is_complete, page.rows_read, {"page_token": page.next_page_token} if is_more else {}
        )
    deadline = time.monotonic() + (PATIENT_SECONDS_MAX if is_patient else SECONDS_MAX)
    low, high = _bounds(store, query, reached)
    return _Search(store, query, low, high, deadline).run()


def _is_looked_at(query: SpanQuery) -> bool:
    """Whether spans must be looked at which the answer may not hold, for longer than a reader waits."""
    if query.trace_id is not None or query.order == "arrival":
        return False
    if query.attributes or query.error_type is not None:
        return True
    # Rollups know where there are long ones, or short ones; not of both together, nor whether they failed.
    marks = (query.is_slow, query.min_duration_ms, query.max_duration_ms)
    is_marked = any(each is not None for each in marks)
    is_narrow = None not in (query.min_duration_ms, query.max_duration_ms)
    return query.order != "slowest" and (is_narrow or (query.is_error is not None and is_marked))


def _bounds(store: Store, query: SpanQuery, reached: int | None) -> tuple[int, int]:
    """The time in which something can be found."""
    summary = store.summarize_store()
    if summary.first_end is None or summary.last_end is None:
        return 0, 0
    low, high = int(summary.first_end - 1) * _NANO, int(summary.last_end + 2) * _NANO
    if query.window is not None:
        low, high = max(low, query.window.start_unix_nano), min(high, query.window.end_unix_nano)
    if reached is not None:
        low, high = (max(low, reached), high) if query.order == "oldest" else (low, min(high, reached))
    return low, high


class _Search:
    """One search between two moments, until a deadline."""

    def __init__(self, store: Store, query: SpanQuery, low: int, high: int, deadline: float) -> None:
        self._store = store
        self._query = query
        self._low, self._high = low, high
        self._deadline = deadline
        self._spans: list[SpanRecord] = []
        self._rows_read = 0
        self._token = query.page_token

    def run(self) -> Found:
        """Look at one slice after the other."""
        width, is_begun = _FIRST_WIDTH_NANO, False
        while self._low < self._high:
            began = time.monotonic()
            if began > self._deadline and is_begun:
                return self._stopped()
            is_begun = True
            window = self._slice(width)
            room = self._query.limit - (0 if self._is_by_duration else len(self._spans))
            page = self._store.find_spans(replace(self._query, window=window, limit=room, page_token=self._token))
            self._rows_read += page.rows_read
            self._keep(page.spans)
            if not page.is_complete and not self._is_by_duration:
                self._token = page.next_page_token
                return self._stopped()
            if len(self._spans) >= self._query.limit and not self._is_by_duration:
                return self._filled(page.next_page_token, window)
            self._go_past(window)
            growth = _SLICE_SECONDS / max(1e-6, time.monotonic() - began)
            width = max(1, int(width * max(_GROWTH_MIN, min(_GROWTH_MAX, growth))))
        return Found(tuple(self._spans), is_complete=True, rows_read=self._rows_read)

    @property
    def _is_by_duration(self) -> bool:
        return self._query.order == "slowest"

    @property
    def _is_rising(self) -> bool:
        return self._query.order == "oldest"

    def _slice(self, width: int) -> Window:
        if self._is_rising:
            return Window(self._low, min(self._high, self._low + width))
        return Window(max(self._low, self._high - width), self._high)

    def _go_past(self, window: Window) -> None:
        self._token = None if not self._is_by_duration else self._token
        if self._is_rising:
            self._low = window.end_unix_nano
        else:
            self._high = window.start_unix_nano

    def _keep(self, spans: tuple[SpanRecord, ...]) -> None:
        self._spans += spans
        if self._is_by_duration:
            self._spans = heapq.nlargest(self._query.limit, self._spans, key=lambda span: span.duration_nano)

    def _stopped(self) -> Found:
        """The time is over: the next page goes on here; one of the slowest begins again, with more time."""
        reached = self._low if self._is_rising else self._high
        further = {"patient": True}
        place = {} if self._is_by_duration else {"reached": reached, "page_token": self._token}
        return Found(tuple(self._spans), False, self._rows_read, {**further, **place}, reached)

    def _filled(self, token: str | None, window: Window) -> Found:
        """The page is full: the next one goes on behind its last span, or behind what was looked at."""
        self._go_past(window)
        last = self._spans[-1].end_unix_nano
        reached = self._low if self._is_rising else self._high
        if token is not None:
            reached = last if self._is_rising else last + 1
        elif self._low >= self._high:
            return Found(tuple(self._spans), is_complete=True, rows_read=self._rows_read)
        return Found(tuple(self._spans), True, self._rows_read, {"reached": reached, "page_token": token})
