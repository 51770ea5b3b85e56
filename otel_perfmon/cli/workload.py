"""The demo's work: Python source files go through Python's own front end, each step under the monitor.

Each file is a trace: `process_file`, and in it `read_file`, `tokenize`, `parse` and `compile`.
"""

from __future__ import annotations

import ast
import gc
import io
import math
import os
import sysconfig
import tokenize
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Final

from otel_perfmon.errors import ConfigError
from otel_perfmon.metrics_storage import MetricsStorage
from otel_perfmon.monitor import PerformanceMonitor
from otel_perfmon.sdk.provider import make_provider

SERVICE: Final = "otel-perfmon-demo"
ROOT: Final = "process_file"
STEPS: Final = ("read_file", "tokenize", "parse", "compile")

_SAMPLE_MAX: Final = 40
_SKIPPED_FOLDERS: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})
_FILE_ERRORS: Final = (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError, OSError)
"""What a broken file raises; MemoryError is the parser's word for brackets nested too deeply."""


def stdlib_folder() -> str:
    """Where the running Python's standard library is."""
    return sysconfig.get_path("stdlib")


def find_files(folder: str) -> list[str]:
    """The Python files in ``folder`` by path, without installed packages. Raises `ConfigError` when there are none."""
    files: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        files += [os.path.join(parent, name) for name in names if name.endswith(".py")]
    if not files:
        message = f"There are no Python files in {folder}; name a folder that has some with --folder."
        raise ConfigError(message)
    return sorted(files)


def sample_files(files: Sequence[str]) -> list[str]:
    """At most forty of the files: by size, the last of each group of alike ones. Their times spread like those of all.

    The last, since a percentile of the sample is then the same percentile of all.
    """
    by_size = sorted(files, key=lambda path: (os.lstat(path).st_size, path))
    step = math.ceil(len(by_size) / _SAMPLE_MAX)
    return by_size[step - 1 :: step]


def choose_slow_threshold_ms(sample: Iterable[str]) -> float:
    """What 19 of 20 files of the sample stay below, rounded up to two digits; measured into a file thrown away."""
    with TemporaryDirectory() as folder, MetricsStorage(os.path.join(folder, "first-pass.db")) as storage:
        process_files(sample, storage, slow_threshold_ms=0)
        milliseconds: float | None = storage.get_stats(ROOT).p95_ms
    if not milliseconds:
        message = "Nothing was recorded; is OpenTelemetry switched off by OTEL_SDK_DISABLED or OTEL_TRACES_SAMPLER?"
        raise ConfigError(message)
    return round_up(milliseconds)


def round_up(number: float) -> float:
    """The next number, or the same, with two significant digits; for numbers above 0."""
    places = 1 - math.floor(math.log10(number))
    return round(math.ceil(number * 10.0**places) / 10.0**places, places)


def process_files(files: Iterable[str], storage: MetricsStorage, slow_threshold_ms: float) -> None:
    """Put every file through all steps; raises `StoreError` after the first one if it cannot be stored."""
    provider = make_provider(SERVICE, shutdown_on_exit=False)
    monitor = PerformanceMonitor(storage, slow_threshold_ms=slow_threshold_ms, tracer_provider=provider)
    is_checked = False
    with _undisturbed():
        for path in files:
            with suppress(*_FILE_ERRORS):  # the monitor has recorded it, with its stack trace
                process_file(monitor, path)
            if not is_checked:
                is_checked = bool(storage.get_stats())
    monitor.shutdown()


def process_file(monitor: PerformanceMonitor, path: str) -> None:
    """Put one file through all steps; what it raises passes through."""
    with monitor.monitor(ROOT, attributes={"file.path": path}) as span:
        with monitor.monitor("read_file"), tokenize.open(path) as file:
            text = file.read()
            size_bytes = os.fstat(file.fileno()).st_size
        span.set_attributes({"file.size": size_bytes, "demo.line_count": text.count("\n")})
        with monitor.monitor("tokenize"):
            deque(tokenize.generate_tokens(io.StringIO(text).readline), maxlen=0)
        with monitor.monitor("parse"):
            tree = ast.parse(text, path)
        with monitor.monitor("compile"):
            compile(tree, path, "exec", dont_inherit=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the warnings of the files, and without the cyclic garbage collector: it walks every syntax tree.

    The trees have no cycles. Collecting took 3 s of 27 (Python 3.11, all of its library).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if was_enabled:
            gc.enable()
