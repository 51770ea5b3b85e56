"""Where a running span is: the stack of its thread, or of its asyncio task, at this moment.

The thread is the one that started the span. In asyncio it is the task: what it awaits, down to the innermost coroutine,
when it is suspended; when it runs, its thread's stack from its own coroutine on.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from time import time_ns
from types import FrameType
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event

STACK_EVENT: Final = "perfmon.stack"
"""The event of a span that tells where it was when it passed its slow threshold."""
FRAMES_MAX: Final = 64
"""The innermost frames of a stack; those above are counted."""
_DEPTH_MAX: Final = 10_000
_OWN_FOLDER: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
_Place = tuple[FrameType, int]


def add_stack(span: Any) -> None:
    """Take the stack of an open span, and make an event of it, if it is still open then; never raises."""
    taken_unix_nano = time_ns()
    with suppress(Exception):  # the outer rim: a task or a frame of another make
        frames = list(islice(_frames_of(span), _DEPTH_MAX))  # innermost first
        if frames:
            text = _text_of(frames)
            _add_event(span, {"code.stacktrace": text, **_thread_of(span)}, taken_unix_nano)


def current_task() -> Callable[[], Any]:
    """How to find the asyncio task that runs on this thread, as a weak reference; None outside any."""
    tasks: Any = sys.modules["asyncio.tasks"]
    running_loop: Callable[[], Any] = sys.modules["asyncio.events"]._get_running_loop
    is_fast = sys.version_info >= (3, 12)  # written in C from then on; before, a call of it takes 0.2 µs
    task_in = tasks.current_task if is_fast else tasks._current_tasks.get

    def current() -> Any:
        loop = running_loop()
        if loop is None:
            return None
        task = task_in(loop)
        try:
            return None if task is None else weakref.ref(task)
        except TypeError:  # a task of somebody's own make
            return None

    return current


def thread_names() -> dict[int, str]:
    """The names of the threads that run, by their identity."""
    return {thread.ident or 0: str(thread.name) for thread in threading.enumerate()}


def _frames_of(span: Any) -> Iterator[_Place]:
    """The frames in which the span runs, innermost first, each with its line."""
    reference = getattr(span, "_perfmon_task", None)
    innermost: FrameType | None = sys._current_frames().get(getattr(span, "_perfmon_thread_id", 0))
    if reference is None:
        yield from _walk(innermost)
        return
    task = reference()
    if task is None or task.done():
        return
    awaited = _awaited_by(task.get_coro())
    if not awaited:
        return
    outermost = awaited[0][0]
    if innermost is not None and any(frame is outermost for frame, _ in _walk(innermost)):
        yield from _down_to(outermost, innermost)
    else:
        yield from reversed(awaited)


def _walk(frame: FrameType | None) -> Iterator[_Place]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _down_to(outermost: FrameType, innermost: FrameType) -> Iterator[_Place]:
    for frame, line in _walk(innermost):
        yield frame, line
        if frame is outermost:
            return


def _awaited_by(coroutine: Any) -> list[_Place]:
    """The frames of a coroutine and of what it awaits, outermost first."""
    places: list[_Place] = []
    while coroutine is not None and len(places) < _DEPTH_MAX:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{prefix}_frame", None)
            if frame is not None:
                places.append((frame, frame.f_lineno))
                coroutine = getattr(coroutine, f"{prefix}_yieldfrom" if prefix == "gi" else f"{prefix}_await")
                break
        else:
            return places
    return places


def _text_of(frames: list[_Place]) -> str:
    """The stack as Python prints one, innermost last, without our own frames."""
    theirs = [place for place in frames if not place[0].f_code.co_filename.startswith(_OWN_FOLDER)]
    while len(theirs) > 1 and theirs[-1][0].f_code.co_filename == threading.__file__:  # how every thread begins
        theirs.pop()
    shown = theirs[:FRAMES_MAX][::-1]
    lines = traceback.StackSummary.extract(iter(shown)).format()
    if len(theirs) > FRAMES_MAX:
        lines.insert(0, f"  ... {len(theirs) - FRAMES_MAX} more frames\n")
    return "".join(lines)


def _thread_of(span: Any) -> dict[str, Any]:
    thread_id = getattr(span, "_perfmon_thread_id", 0)
    return {"thread.id": thread_id, "thread.name": thread_names().get(thread_id, "")}


def _add_event(span: Any, attributes: dict[str, Any], time_unix_nano: int) -> None:
    """Add the event unless the span has ended, of which the SDK's own method would warn."""
    limits = span._limits
    bounded = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
    event = Event(STACK_EVENT, bounded, time_unix_nano)
    span._is_plain = False  # from here on its end takes the lock
    with span._lock:
        if span._end_time is None:
            span._events.append(event)
