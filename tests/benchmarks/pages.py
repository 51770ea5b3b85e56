"""What the pages cost: the server's time for each, and how soon a browser shows them.

Run:  python tests/benchmarks/pages.py [--short] [--keep FILE]

Fills a store with the spans of a shop over the last day (a million of them; FILE is one that is filled already, and is
only read), then prints for each page, and each question that a page asks the API, the time to the last byte of 100
requests, and how long the server worked for one; for the operations in Chromium the first contentful paint and the
moment from which they can be used; for traces of 10,000 and 100,000 spans the moment when they are shown, the longest
task and the longest frame while they scroll; and the bytes of scripts and styles. What must hold at ten million spans
stands beside each figure.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "browser")]

from browser_kit import FLAGS  # noqa: E402 - the kits are no package
from playwright.sync_api import Browser, sync_playwright  # noqa: E402
from questions import fill  # noqa: E402
from serve_kit import Served, showing  # noqa: E402
from trace_kit import TRACE, big_trace, record  # noqa: E402
from views_kit import VIEWS, Facts  # noqa: E402

import otel_perfmon.web  # noqa: E402

SERVER_MS_MAX: Final = 100
SHOWN_MS_MAX: Final = 1_000
FRAME_MS_MAX: Final = 50
WINDOWS: Final = ("24h", "all")
TRACES: Final = (10_000, 100_000)
_OK: Final = 200
_WATCH: Final = """
globalThis.seen = {paint: 0, usable: 0, longest: 0};
new PerformanceObserver((list) => list.getEntries().forEach(({name, startTime}) => {
  if (name === "first-contentful-paint") {
    seen.paint = startTime;
  }
})).observe({type: "paint", buffered: true});
new PerformanceObserver((list) => list.getEntries().forEach(({duration}) =>
  (seen.longest = Math.max(seen.longest, duration)))).observe({type: "longtask", buffered: true});
new MutationObserver(() => {
  if (!seen.usable && document.querySelector(SELECTOR)) {
    seen.usable = performance.now();
  }
}).observe(document, {childList: true, subtree: true});
"""
_SCROLL: Final = """async () => {
  const rows = document.querySelector(".rows");
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let step = 0; step < 180; step++) {
    rows.scrollTop += step % 10 ? 130 : 9_000;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames.slice(2).sort((one, other) => one - other);
}"""


def addresses(path: str) -> Iterator[tuple[str, str]]:
    """Name and address of every page, of a day and of all time."""
    facts = Facts.of(path)
    for view in VIEWS:
        if view.status == _OK:
            for window in WINDOWS if "window=" in view.address else WINDOWS[:1]:
                yield f"{view.name}, {window}", re.sub("window=[^&]*", f"window={window}", facts.fill(view.address))


class Asker:
    """Asks a server again and again over one connection."""

    def __init__(self, served: Served, times: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        self._stat = Path(f"/proc/{served.process.pid}/stat")
        self._times = times
        self._seconds_max = times / 10  # a page that takes longer is told as such anyway

    def ask(self, address: str) -> tuple[int, bytes]:
        self._connection.request("GET", address)
        response = self._connection.getresponse()
        return response.status, response.read()

    def measure(self, name: str, address: str) -> bytes:
        """Print how long it takes; the answer."""
        status, body = self.ask(address)
        took, cpu_ms = [], self._cpu_ms()
        deadline = time.monotonic() + self._seconds_max
        while len(took) < self._times and time.monotonic() < deadline:
            began = time.perf_counter()
            self.ask(address)
            took.append((time.perf_counter() - began) * 1000)
        took.sort()
        p95 = took[int(0.95 * (len(took) - 1))]
        cpu_ms = (self._cpu_ms() - cpu_ms) / len(took)
        mark = "" if status == _OK else f"  status {status}"
        mark += "" if p95 <= SERVER_MS_MAX else f"  MORE THAN {SERVER_MS_MAX}"
        print(
            f"{name:44s} {statistics.median(took):8.1f} {p95:8.1f} {took[-1]:8.1f} {cpu_ms:8.1f} {len(body):10,d}{mark}"
        )
        return body

    def _cpu_ms(self) -> float:
        """How long the server has worked since its start: what it would take on a machine that does nothing else."""
        if not self._stat.exists():
            return math.nan
        user, system = self._stat.read_text().rpartition(")")[2].split()[11:13]
        return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._connection.close()


def measure_server(path: str, times: int) -> None:
    """Print the server's time for every page, and for every question that these ask."""
    heads = "p50 ms", "p95 ms", "max ms", "CPU ms"
    print(f"{f'{times} requests each':44s} {' '.join(f'{head:>8s}' for head in heads)} {'bytes':>10s}")
    asked: dict[str, str] = {}
    with showing(path, "--no-token") as served, closing(Asker(served, times)) as asker:
        for name, address in addresses(path):
            page = asker.measure(name, address).decode()
            for source in re.findall(r'data-src="(/api/[^"]*)"', page):
                asked.setdefault(unescape(source), name)
        for source, name in asked.items():
            question = source.partition("?")[0].removeprefix("/api/")
            asker.measure(f"  {re.sub('[0-9a-f]{32}', 'ID', question)} ({name})", source)


def open_page(browser: Browser, address: str, usable: str, seconds: float) -> dict[str, float]:
    """Open an address in a browser that knows nothing of it yet, and tell when it was there; and how it scrolled."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.add_init_script(_WATCH.replace("SELECTOR", repr(usable)))
        page.goto(address)
        deadline = time.monotonic() + seconds
        while not (seen := page.evaluate("seen"))["usable"] and time.monotonic() < deadline:
            page.wait_for_timeout(20)
        page.wait_for_timeout(300)
        if usable.startswith(".rows"):
            frames = page.evaluate(_SCROLL)
            seen |= {"longest frame": frames[-1], "p99 frame": frames[int(0.99 * len(frames))]}
        return {**seen, "longest": page.evaluate("seen.longest")}
    finally:
        context.close()


def measure_browser(path: str, folder: str, rounds: int) -> None:
    """Print what somebody waits for."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("there is no Chromium here: apt-get install chromium")
        return
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for window in WINDOWS:
            with showing(path, "--no-token") as served:
                address = f"{served.url}/?window={window}"
                seen = [open_page(browser, address, "#heat svg path", 20) for _ in range(rounds)]
            for what, key in (("first contentful paint", "paint"), ("usable", "usable")):
                tell(f"operations, {window}: {what}, median of {rounds}", statistics.median(each[key] for each in seen))
        for count in TRACES:
            trace_path = str(Path(folder) / f"trace-{count}.db")
            record(trace_path, big_trace(count))
            with showing(trace_path, "--no-token") as served:
                seen = open_page(browser, f"{served.url}/trace/{TRACE.hex()}", ".rows .row", 30)
            tell(f"trace of {count:,d} spans: shown", seen["usable"], SHOWN_MS_MAX if count == TRACES[0] else None)
            tell(f"trace of {count:,d} spans: longest task", seen["longest"])
            tell(f"trace of {count:,d} spans: p99 of frames while it scrolls", seen["p99 frame"], FRAME_MS_MAX)
            tell(f"trace of {count:,d} spans: longest frame while it scrolls", seen["longest frame"], FRAME_MS_MAX)
        browser.close()


def tell(what: str, milliseconds: float, most_ms: float | None = SHOWN_MS_MAX) -> None:
    print(f"{what:64s} {milliseconds:8.0f} ms" + (f"  (must: <= {most_ms:,} ms)" if most_ms else ""))


def measure_files() -> None:
    """Print the bytes of what pages are made of."""
    folder = Path(otel_perfmon.web.__file__).parent / "static"
    for suffix in (".js", ".css"):
        found = [each.read_bytes() for each in folder.rglob(f"*{suffix}")]
        packed = sum(len(gzip.compress(each)) for each in found)
        print(f"{suffix}: {len(found)} files, {sum(map(len, found)):,d} bytes, {packed:,d} with gzip")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="100,000 spans instead of a million, 20 requests, not 100")
    parser.add_argument("--keep", metavar="FILE", help="the store to fill, or to look at, and not to delete")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or str(Path(folder) / "pages.db")
        if not os.path.exists(path):
            fill(path, 100_000 if arguments.short else 1_000_000)
        measure_server(os.path.abspath(path), 20 if arguments.short else 100)
        measure_browser(os.path.abspath(path), folder, 3 if arguments.short else 7)
    measure_files()


if __name__ == "__main__":
    main()
