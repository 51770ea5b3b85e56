"""What an exception tells of how a call ended: error or not, its type, its message, its stack trace.

Exceptions are the user's: any of their methods may fail, and none of that may reach the program.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

_OUTCOMES: Final = (
    (KeyboardInterrupt, "interrupted"),
    (SystemExit, "exited"),
    (GeneratorExit, "closed"),
)
_MARK: Final = "__perfmon_recorded_in__"
_MARKS_MAX: Final = 10_000


def outcome_of(error: BaseException) -> str | None:
    """How a call ended that was left by something which is no error; None for an error."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    if isinstance(error, Exception):
        return None
    asyncio = sys.modules.get("asyncio.exceptions")  # importing it would cost a program 22 ms that it may never need
    is_cancelled = asyncio is not None and isinstance(error, asyncio.CancelledError)
    return "cancelled" if is_cancelled or type(error).__name__ == "Cancelled" else None  # trio's is private


def type_name(error: BaseException) -> str:
    """The full name of its type, without a module for built-in ones (semantic conventions, recording errors)."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" or not module else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """``str(error)``, or what is wrong with it."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__qualname__} without a readable message>"


def stack_trace_of(error: BaseException, skipped_files: Iterable[str] = ()) -> str:
    """The stack trace as Python prints it, from the first frame on that is not in one of ``skipped_files``."""
    frames = _frames_after(error.__traceback__, skipped_files)
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # an exception whose own attributes fail: its frames still tell
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(frames)]
        return "".join([*lines, f"{type_name(error)}: {message_of(error)}\n"])


def mark_recorded(error: BaseException, enclosing_calls: Iterable[int]) -> None:
    """Note on the exception that its stack trace is recorded, within the calls of those ids."""
    try:
        calls: set[int] = vars(error).setdefault(_MARK, set())
        if len(calls) > _MARKS_MAX:
            calls.clear()  # one object, raised and caught again and again
        calls.update(enclosing_calls)
    except Exception:  # one without a dict: its stack trace is recorded once more, further out
        return


def is_recorded_within(error: BaseException, call: int) -> bool:
    """Whether a call inside this one has recorded the exception's stack trace: one is enough."""
    return call in _marks(error)


def unmark(error: BaseException, call: int) -> None:
    """Take our note about a call off again, so that the exception leaves the outermost one as it came."""
    marks = _marks(error)
    if call in marks:
        marks.discard(call)
        if not marks:
            del vars(error)[_MARK]


def _marks(error: BaseException) -> Any:
    try:
        return vars(error).get(_MARK, ())
    except Exception:
        return ()


def _frames_after(frames: TracebackType | None, skipped_files: Iterable[str]) -> TracebackType | None:
    skipped = set(skipped_files)
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in skipped:
        frames = frames.tb_next
    return frames
