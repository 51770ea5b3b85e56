"""Fixtures: one Chromium for all tests, tabs in which nothing may go wrong, and stores that are made ready."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))

pytest.importorskip("playwright.sync_api")

from browser_kit import NARROW, WIDE, Tab, Witness, launch_chromium
from hostile_kit import hostile_calls, post_hostile
from playwright.sync_api import Browser, sync_playwright
from serve_kit import Served, serving, showing

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder runs with the faults."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


class _Chromium:
    """The browser, from the first test that wants it to the last of this folder."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._browser: Browser | None = None

    def get(self) -> Browser:
        if self._browser is None:
            self._browser = launch_chromium(self._stack.enter_context(sync_playwright()))
            self._stack.callback(self._browser.close)
        return self._browser

    def stop(self) -> None:
        self._stack.close()
        self._browser = None


_chromium = _Chromium()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Playwright has an event loop run on this thread: others' tests want one of their own."""
    if nextitem is None or HERE not in nextitem.path.parents:
        _chromium.stop()


@pytest.fixture
def chromium() -> Browser:
    return _chromium.get()


@pytest.fixture
def show() -> Iterator[Callable[..., Served]]:
    """Start `otel-perfmon ui` for the test; it outlives the test's tabs."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(showing(*arguments, **options))


@pytest.fixture
def open_tab(chromium: Browser, show: object) -> Iterator[Callable[..., Tab]]:
    """Open a tab on a server, with a browser's context of its own; at the end nothing may have gone wrong in any."""
    opened: list[tuple[Any, Witness]] = []

    def open_tab(served: Served, **options: Any) -> Tab:
        context = chromium.new_context(**{"viewport": WIDE, **options})
        context.set_default_timeout(10_000)
        witness = Witness(context, served.url)
        opened.append((context, witness))
        return Tab(context.new_page(), witness, served.url)

    yield open_tab
    for context, _ in opened:
        context.close()
    troubles = [trouble for _, witness in opened for trouble in witness.troubles]
    assert troubles == []


@contextmanager
def shop(path: str) -> Iterator[Callable[[str], None]]:
    """A shop that records into a file, for a block: `shop.py`, which is told what to do."""
    command = [sys.executable, str(HERE / "shop.py"), path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    variables = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    with subprocess.Popen(command, text=True, cwd=os.path.dirname(path), env=variables, **pipes) as process:
        assert process.stdout.readline() == "ready\n"

        def tell(line: str) -> None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        try:
            yield tell
        finally:
            process.stdin.close()
            process.wait(30)


@pytest.fixture
def start_shop(db_path: str) -> Iterator[Callable[[str], None]]:
    """A shop that records into the test's file."""
    with shop(db_path) as tell:
        yield tell


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pages of a store that is not there yet."""
    with showing(str(tmp_path_factory.mktemp("empty") / "metrics.db"), "--no-token") as served:
        yield served


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Those of a dozen traces: quick, slow with a stack, failed with an exception; and of one call that goes on."""
    path = str(tmp_path_factory.mktemp("little") / "metrics.db")
    with shop(path) as tell:
        for line in ("quick 8", "slow", "fail", "slow", "fail", "open"):
            tell(line)
        with showing(path, "--no-token") as served:
            yield served


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Those of a store in which every text is an attack."""
    path = str(tmp_path_factory.mktemp("hostile") / "<b>metrics\u202e.db")
    with serving(path, "--no-grpc", "--no-token") as served:
        post_hostile(served)
        with hostile_calls(path):
            yield served


@pytest.fixture(params=[WIDE, NARROW], ids=["1280", "390"])
def viewport(request: pytest.FixtureRequest) -> dict[str, int]:
    return request.param
