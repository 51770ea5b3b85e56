"""What comes first: importing the package, and the first span of an operation and of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from otel_perfmon.bench import ways
from otel_perfmon.bench.figures import Figure, Goal, Spread
from otel_perfmon.metrics_storage import MetricsStorage

_UNIT: Final = "ms"
_TIMED: Final = """
import time
import opentelemetry.sdk.trace, opentelemetry.sdk.metrics
start = time.perf_counter()
{}
print((time.perf_counter() - start) * 1e3)
"""
_FIRST: Final = """
import sys, time, otel_perfmon
monitor = otel_perfmon.configure(sys.argv[1])
start = time.perf_counter()
with monitor.monitor("operation"):
    pass
print((time.perf_counter() - start) * 1e3)
"""
_WARM_UP: Final = Goal(1.0)
_IMPORT: Final = Goal(25.0, 10.0)


def measure_imports(rounds: int, tell: Callable[[str], None]) -> list[Figure]:
    """What importing takes in a fresh process that has imported the SDK's tracing and metrics, in ms."""
    programs = {
        "import": ("import otel_perfmon", "import otel_perfmon"),
        "import_configure": ("- and configure()", "from otel_perfmon import configure, PerformanceMonitor"),
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        tell(f"importing, {number + 1} of {rounds + 1}")
        for name, (_, statement) in programs.items():
            times[name].append(_printed_ms(_TIMED.format(statement)))
    # The first time of each compiles what is not compiled yet.
    return [
        Figure(name, title, _UNIT, Spread.of(times[name][1:]), goal=_IMPORT) for name, (title, _) in programs.items()
    ]


def measure_first_spans(folder: str, names: int, processes: int) -> list[Figure]:
    """What the first span of an operation takes its caller: of new operations, and of new processes, in ms."""
    new: list[float] = []
    with MetricsStorage(os.path.join(folder, "new.db")) as storage:
        monitor = ways.alone(storage)
        for number in range(names):
            start = time.perf_counter()
            with monitor.monitor(f"new operation {number}"):
                pass
            new.append((time.perf_counter() - start) * 1e3)
        monitor.shutdown()
    first = [_printed_ms(_FIRST, os.path.join(folder, f"first-{number}.db")) for number in range(processes)]
    return [
        Figure("first_span", "first span of an operation", _UNIT, Spread.of(new), goal=_WARM_UP),
        Figure("first_span_of_process", "first span of a process", _UNIT, Spread.of(first), goal=_WARM_UP),
    ]


def _printed_ms(program: str, *arguments: str) -> float:
    """The number that a program prints in a process of its own, which may keep what it compiles."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)  # noqa: S603 - a program of ours
    return float(done.stdout)
