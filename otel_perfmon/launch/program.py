"""A program that ``otel-perfmon run`` started: what begins in its process, and what it says at its end."""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import sys
import time
from functools import partial
from typing import Final

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from otel_perfmon.application import configure_from_environment
from otel_perfmon.launch.instrumentation import instrument_installed
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.query import Window
from otel_perfmon.storage.url import open_store

_logger = logging.getLogger("otel_perfmon")

TELLING_TIMEOUT_MS: Final = 1_000
"""So long may the end of a program wait for its line, when the file cannot be written."""


def begin(*, is_told: bool) -> None:
    """Set up tracing by the environment's settings, and switch on what instruments. Never raises.

    ``is_told``: whether one line at the end says what was seen, if standard error is a terminal.
    """
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return
    try:
        monitor = configure_from_environment()
        if is_told:
            atexit.register(partial(_tell, monitor, os.getpid(), time.time_ns()))
        instrument_installed()
    except Exception:  # the outer rim: the program runs all the same
        _logger.exception("The program could not be put under the monitor.")


def _tell(monitor: PerformanceMonitor, pid: int, began_unix_nano: int) -> None:
    """Say where the file is and what was seen in it since then, of this process and the others."""
    try:
        if os.getpid() == pid and sys.stderr.isatty():
            is_written, path = monitor.force_flush(TELLING_TIMEOUT_MS), monitor.storage.path
            told = _seen(path, began_unix_nano) if is_written else "not all was written; why: otel-perfmon doctor"
            # To who started the program with otel-perfmon run; whole at once, or another thread's line gets into it.
            sys.stderr.write(f"otel-perfmon: {told} --db {shlex.quote(path)}\n")
    except Exception as error:  # the outer rim: the program has ended as it wanted to
        _logger.debug("What was seen could not be told: %r", error)


def _seen(path: str, began_unix_nano: int) -> str:
    """The sentence, and the command that tells more."""
    stats = "otel-perfmon stats"
    if not os.path.exists(path):
        return f"no span was seen; when there are any: {stats}"
    with open_store(path) as store:
        operations = store.summarize_operations(window=Window(began_unix_nano, time.time_ns() + 1))
    if not operations or operations[0].window is None:
        return f"no span was seen; what was there before: {stats}"
    calls = sum(each.count for each in operations)
    failed, slow = sum(each.error_count for each in operations), sum(each.slow_count for each in operations)
    since = time.strftime("%H:%M:%S", time.localtime(operations[0].window.start_unix_nano / 1e9))
    told = f"{_count(calls, 'call')} of {_count(len(operations), 'operation')}, {failed:,} failed, {slow:,} slow"
    return f"{told}, since {since}; where the time went: {stats}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
