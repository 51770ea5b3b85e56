"""What is running now: every span of this process that has started and not ended yet.

A span is noted when it starts and let go when it ends. One thread looks at what is there, some times a second while
there is anything, and does two things. Spans open for longer than a second are shown to the recorders of their stores,
which keep a row of each (the flight recorder). And of one that passes its slow threshold the stack is taken, once, and
kept as an event of the span.

A young span is held: to do so by a weak reference would cost three times as much. After a second it is held by a weak
one, so that a span which nobody ever ends goes when its program has let go of it.

Until the first store is opened in the process nothing is noted. A child begins with nothing: what was open at a fork is
the parent's.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from threading import get_ident
from time import time_ns
from typing import Any, Final

from otel_perfmon.sdk.stacks import add_stack, current_task, thread_names
from otel_perfmon.sdk.thresholds import lowest_threshold_nano
from otel_perfmon.storage.attributes import storable_text
from otel_perfmon.storage.gated_thread import GatedThread
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.rows import OPERATION_NAME_MAX, OpenSpanRow, SpanDetails, SpanRow

OPEN_NANO: Final = 1_000_000_000
"""A span that is open for longer gets a row."""
ROWS_MAX: Final = 10_000
"""Rows of open spans of one process and store, the oldest first."""
_LOOK_SECONDS: Final = (0.02, 0.1)
"""The shortest and the longest time between two looks: a quarter of the lowest slow threshold, within these."""
_QUIET_SECONDS: Final = 1.0
"""With nothing to look at for so long the thread sleeps until the next span starts."""
_COST_SHARE: Final = 10
"""Of the CPU's time looking, and making rows, may take a tenth each: with thousands of open spans both are rarer."""
_STACKS_MAX: Final = 50
"""Stacks in a second, each of which takes up to a millisecond: when a backend hangs, thousands become slow at once."""
_TEXT_MAX: Final = 2 * 1024 * 1024
"""Characters of attributes, events and links in the rows of open spans; those beyond are without."""
_stack_budget: Final = [_STACKS_MAX]
_rows_seconds: Final = [0.0]
_logger = logging.getLogger("otel_perfmon")

OFF, ASLEEP, AWAKE = 0, 1, 2
watch: Final = [OFF]
"""Whether spans are to be noted, and whether the thread must be woken for it."""
_young: Final[set[Any]] = set()
_hold: Final[Callable[[Any], None]] = _young.add
let_go: Final[Callable[[Any], None]] = _young.discard
"""A span of ours has ended."""
_foreign: Final[dict[int, Any]] = {}
"""Spans of the SDK's own make, by the identity of their context: when one ends, only a copy is shown."""
task_of: Final[list[Callable[[], Any] | None]] = [None]
"""How to find the asyncio task of this thread; None until asyncio is there."""


def note(span: Any) -> None:
    """Note a span of ours, on the thread that starts it, unless `watch` is off."""
    span._perfmon_thread_id = get_ident()
    if task_of[0] is not None:
        span._perfmon_task = task_of[0]()
    _hold(span)
    if watch[0] == ASLEEP:
        _watcher.wake()


def note_foreign(span: Any) -> None:
    """Note a span that a tracer of another make starts, likewise."""
    if not watch[0]:
        return
    with suppress(AttributeError):  # no span of the SDK's
        _foreign[id(span._context)] = span
        note(span)
        let_go(span)


def let_foreign_go(span: Any) -> None:
    """That span, or what is shown of it, has ended."""
    if _foreign:
        _foreign.pop(id(span._context), None)


def show_to(recorder: Recorder) -> None:
    """Show this recorder the open spans that are to be in its store, from now on."""
    _watcher.recorders.add(recorder)
    recorder.flight.open_spans_of = partial(rows_for, recorder)
    if watch[0] == OFF:
        watch[0] = ASLEEP


def rows_for(recorder: Recorder, *, is_last: bool) -> list[OpenSpanRow]:
    """Rows of the spans that are open for longer than a second, of all when it is the last time; oldest first.

    Only the thread that writes for this recorder may ask.
    """
    began = time.thread_time()
    younger_than = time_ns() - (0 if is_last else OPEN_NANO)
    spans = [span for span in _all_open() if 0 < _start_of(span) <= younger_than]
    rows: list[OpenSpanRow] = []
    names, room = thread_names(), _TEXT_MAX
    for span in sorted(spans, key=_start_of):
        door = next((door for door in _doors_of(span) if door.recorder is recorder), None)
        if door is not None and len(rows) < ROWS_MAX:
            with suppress(Exception):  # the outer rim: a value that no span should have; its end will tell
                row = door.encode_open(span)
                name, _ = storable_text(names.get(row.thread_id, ""), OPERATION_NAME_MAX)
                room -= row.span.text_size
                rows.append(row._replace(thread_name=name, span=row.span if room >= 0 else _without_texts(row.span)))
    _rows_seconds[0] = time.thread_time() - began
    return rows


def _without_texts(span: SpanRow) -> SpanRow:
    return span._replace(attributes="", details=SpanDetails(altered="attributes,events,links"))


class _Watcher:
    """The thread, and what it knows."""

    def __init__(self) -> None:
        self.recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
        self.start_afresh()

    def start_afresh(self) -> None:
        """Nothing is open, and no thread runs."""
        self.old: dict[int, weakref.ref[Any]] = {}
        self._thread = GatedThread(self._run, "otel-perfmon-watcher")
        self._shown_at = 0
        self._look_seconds = 0.0

    def wake(self) -> None:
        """Look: a span has started. Safe in a signal handler and in a finaliser."""
        watch[0] = AWAKE
        try:
            _find_asyncio()
            if not self._thread.wake():
                watch[0] = OFF if sys.is_finalizing() else ASLEEP
        except Exception:  # at the limit of recursion: the next one wakes it
            watch[0] = ASLEEP
        except BaseException:  # Ctrl-C
            watch[0] = ASLEEP
            raise

    def _run(self) -> None:
        quiet_seconds = 0.0
        while True:
            if _young or _foreign or self.old or self._has_rows():
                quiet_seconds = 0.0
            elif quiet_seconds >= _QUIET_SECONDS:
                self._sleep()
            pause = min(max(lowest_threshold_nano[0] / 4e9, _LOOK_SECONDS[0]), _LOOK_SECONDS[1])
            pause = max(pause, min(_COST_SHARE * self._look_seconds, 1.0))
            time.sleep(pause)  # by the module: gevent may have replaced it since this was imported
            quiet_seconds += pause
            try:
                began = time.thread_time()
                self._look()
                self._look_seconds = time.thread_time() - began
            except Exception as error:  # the outer rim: the thread must live
                _logger.debug("Open spans could not be looked at: %r", error)

    def _sleep(self) -> None:
        watch[0] = ASLEEP
        if not (_young or _foreign):  # none was noted before we said so
            self._thread.wait_at_gate()
        watch[0] = AWAKE

    def _look(self) -> None:
        now = time_ns()
        _find_asyncio()
        for span in _all_open():
            _look_at(span, now - _start_of(span))
        is_new = self._let_age(now)
        pause = _COST_SHARE * int(_rows_seconds[0] * 1e9)
        is_due = not 0 <= now - self._shown_at < max(pause, 0 if is_new else OPEN_NANO)  # a clock may be set back
        if is_due and (self.old or self._has_rows()):
            self._shown_at = now
            for recorder in list(self.recorders):
                recorder.look_at_open_spans()

    def _let_age(self, now: int) -> bool:
        """Hold by a weak reference what is open for long; whether there is any new."""
        known = len(self.old)
        for span in [each for each in _young.copy() if not 0 <= now - _start_of(each) <= OPEN_NANO]:
            self.old[id(span)] = weakref.ref(span)
            _young.discard(span)
        for key, span in _foreign.copy().items():
            if span._end_time is not None or not 0 <= now - _start_of(span) <= OPEN_NANO:
                self.old[id(span)] = weakref.ref(span)
                _foreign.pop(key, None)
        is_new = len(self.old) > known
        _stack_budget[0] = min(_STACKS_MAX, _stack_budget[0] + _STACKS_MAX // 10)
        for key, reference in self.old.copy().items():
            span = reference()
            if span is None or span._end_time is not None:
                del self.old[key]
        return is_new

    def _has_rows(self) -> bool:
        """Whether any file has rows that may have to go."""
        return any(recorder.flight.has_rows for recorder in list(self.recorders))


_watcher: Final = _Watcher()


def _all_open() -> Iterator[Any]:
    """Every span that is open; some may end meanwhile."""
    young = (*_young.copy(), *_foreign.copy().values())  # first: one may become an old one meanwhile
    old = (reference() for reference in _watcher.old.copy().values())
    spans = {id(span): span for span in (*young, *old)}.values()
    return (span for span in spans if span is not None and span._end_time is None)


def _start_of(span: Any) -> int:
    """When it started, in nanoseconds since 1970; 0 if it does not say so properly."""
    start = span._start_time
    return start if type(start) is int else 0


def _doors_of(span: Any) -> Iterator[Any]:
    """The doors through which it will be stored when it ends, as far as that is known."""
    processors: Iterable[Any] = getattr(span._span_processor, "_span_processors", ())
    for processor in processors:
        door = getattr(processor, "door", None)
        if door is not None and processor.is_open:
            yield door
    own = getattr(span, "_perfmon_door", None)
    if own is not None:
        yield own


def _look_at(span: Any, age_nano: int) -> None:
    """Take the stack of what has just become slow."""
    threshold_nano = getattr(span, "_perfmon_threshold_nano", None)
    if getattr(span, "_perfmon_is_seen", False) or (threshold_nano is None and age_nano <= lowest_threshold_nano[0]):
        return
    doors = [door for door in _doors_of(span) if door.takes_stacks]
    if not doors:
        return
    if threshold_nano is None:
        threshold_nano = min(door.slow_threshold_nano for door in doors)
    if age_nano > threshold_nano:
        span._perfmon_is_seen = True
        if _stack_budget[0] > 0:
            _stack_budget[0] -= 1
            add_stack(span)


def _find_asyncio() -> None:
    if task_of[0] is None and "asyncio.tasks" in sys.modules:
        with suppress(Exception):  # another thread is just importing it
            task_of[0] = current_task()


def _after_fork_in_child() -> None:
    _young.clear()
    _foreign.clear()
    _watcher.start_afresh()
    if watch[0] != OFF:
        watch[0] = ASLEEP


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
