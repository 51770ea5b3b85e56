"""Fixtures: real files, a process without any tracing set up, and real child processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry import context, metrics, trace
from opentelemetry.metrics import _internal as metrics_internal
from opentelemetry.util._once import Once

from otel_perfmon import MetricsStorage, PerformanceMonitor, application
from otel_perfmon.storage.sqlite import connection as connections

sys.path.insert(0, os.path.dirname(__file__))  # the kits

for name, examples in {"everyday": 40, "long": 2_000}.items():
    calm = [HealthCheck.function_scoped_fixture]
    settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=calm)
settings.load_profile("everyday")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background by a shell: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


EVERYDAY = "not long and not faults"
MEMORY = "/dev/shm"
ROOM_BYTES = 4 << 30


def _is_everyday(config: pytest.Config) -> bool:
    return config.args == config.getini("testpaths") and config.option.markexpr == EVERYDAY


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where pictures of the pages go; without it none are taken."""
    parser.addoption("--screenshots", metavar="FOLDER", help="write every page there as pictures (tests/browser)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """All tests together have their files in memory, where there is room: thousands of stores are closed by fsync.

    The files are gone at the end; a test that is named leaves its own on the disk, as ever.
    """
    if not _is_everyday(config) or config.option.basetemp or config.option.collectonly:
        return
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        config.option.basetemp = tempfile.mkdtemp(prefix="tests-", dir=MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """All tests together run on every core, what was named and the faults, which print their figures, on one."""
    return None if _is_everyday(config) else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms out unless they are asked for by their own mark."""
    if "long" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


_figures: list[tuple[str, str, str]] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures, beside what they had to be."""
    if not _figures:
        return
    terminalreporter.section("figures")
    width = max(len(what) for what, _, _ in _figures)
    for what, seen, bound in _figures:
        terminalreporter.write_line(f"{what:<{width}}  {seen}" + (f"  (must: {bound})" if bound else ""))


@pytest.fixture
def figure() -> Callable[..., None]:
    """Print a figure at the end of the run: ``figure("kills: corrupt files", 0, "0")``. The test asserts by itself."""

    def note(what: str, seen: object, bound: str = "") -> None:
        _figures.append((what, str(seen), bound))

    return note


OUR_VARIABLES = ("SLOW_REQUEST_THRESHOLD_MS", "SAMPLING_WINDOW_SECONDS", "ERROR_RATE_THRESHOLD")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test works in a folder of its own and sees no settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("OTEL_") or name in OUR_VARIABLES:
            monkeypatch.delenv(name)


_create_if_missing = connections._create_if_missing


@pytest.fixture(scope="session", autouse=True)
def _tables_at_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new file is a copy of one that holds its tables: the migrations take 30 ms of each test that makes one.

    Not in the processes that tests start, nor where the making of a file is the subject: see `by_migrations`.
    """
    model = str(tmp_path_factory.mktemp("model") / "metrics.db")
    connections.open_writer(model).close()
    with open(model, "rb") as file:
        content = file.read()

    def create_if_missing(path: str) -> None:
        if os.path.exists(path) or not os.access(os.path.dirname(path), os.W_OK):
            _create_if_missing(path)
            return
        # Whole at once: who looks at it meanwhile must not find the half of it.
        descriptor, copied = tempfile.mkstemp(dir=os.path.dirname(path))
        with open(descriptor, "wb") as file:
            file.write(content)
        try:
            os.link(copied, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(copied)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "_create_if_missing", create_if_missing)
        yield


@pytest.fixture
def by_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """New files are made as outside of tests."""
    monkeypatch.setattr(connections, "_create_if_missing", _create_if_missing)


@pytest.fixture
def db_path(tmp_path: Path) -> str:
    return str(tmp_path / "metrics.db")


@pytest.fixture
def storage(db_path: str) -> Iterator[MetricsStorage]:
    with MetricsStorage(db_path) as storage:
        yield storage


@pytest.fixture
def monitor(storage: MetricsStorage) -> Iterator[PerformanceMonitor]:
    """A monitor that works alone, on a file of its own."""
    monitor = PerformanceMonitor(storage)
    yield monitor
    monitor.shutdown()


@pytest.fixture
def no_current_span() -> Iterator[None]:
    """A test that fails inside a block leaves no span behind for the next one."""
    token = context.attach(context.Context())
    yield
    token.var.reset(token)


@pytest.fixture
def fresh_process(no_current_span: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """OpenTelemetry's globals as in a new process, and no `configure()` called; everything is put back afterwards."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(metrics_internal, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(metrics_internal, "_PROXY_METER_PROVIDER", type(metrics_internal._PROXY_METER_PROVIDER)())
    process = application._Process()
    monkeypatch.setattr(application, "_process", process)
    yield
    application.get_monitor().shutdown()
    for provider in (trace._TRACER_PROVIDER, metrics.get_meter_provider()):
        shutdown = getattr(provider, "shutdown", None)
        if shutdown is not None:
            shutdown()


@pytest.fixture
def run_python(tmp_path: Path):
    """Run a program in a process of its own, in the test's folder; gives what it printed. Fails if it fails."""

    def run(program: str, *, check: bool = True, timeout: float = 60, **environment: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result.stdout

    return run
