"""Many tabs that are left open cost the program that records nothing: no span, and no log that grows without end."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest
from browser_kit import Tab

from otel_perfmon import open_store
from otel_perfmon.storage.sqlite.writer import WAL_MAX_BYTES

RATE = 5_000
RECORD = """
import sys, time
import otel_perfmon
monitor = otel_perfmon.configure(sys.argv[1], slow_threshold_ms=60_000)
seconds, rate, count = float(sys.argv[2]), int(sys.argv[3]), 0
began = time.monotonic()
while (elapsed := time.monotonic() - began) < seconds:
    for _ in range(int(elapsed * rate) - count):
        with monitor.monitor(f"operation {count % 50}", attributes={"number": count, "user": "ada"}):
            count += 1
    time.sleep(0.005)
monitor.shutdown()
print(count)
"""
ADDRESSES = (
    "/?window=15m",
    "/operation?operation=operation%207&window=15m",
    "/spans?window=15m",
    "/errors?window=15m",
    "/store",
)
WAL_BOUND_BYTES = 8 * WAL_MAX_BYTES
"""A checkpoint is tried again where somebody reads just then, and waits for them in the end."""


@pytest.mark.parametrize(("tab_count", "seconds"), [(5, 10), pytest.param(20, 120, marks=pytest.mark.long)])
def test_while_many_tabs_are_live_the_writer_loses_nothing_and_its_log_stays_small(
    open_tab, show, db_path, tab_count, seconds, figure
):
    served = show(db_path, "--no-token")
    command = [sys.executable, "-c", RECORD, db_path, str(seconds), str(RATE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(db_path)) as program:
        tab = open_tab(served)
        tab.until("() => document.querySelector('#operations') !== null") if tab.page.goto(tab.url + "/") else None
        pages = [tab.page, *(tab.page.context.new_page() for _ in range(tab_count - 1))]
        for number, page in enumerate(pages):
            page.goto(tab.url + ADDRESSES[number % len(ADDRESSES)])
        before, largest = stored_on(tab), 0
        while program.poll() is None:
            tab.page.wait_for_timeout(50)
            with suppress(FileNotFoundError):
                largest = max(largest, os.stat(db_path + "-wal").st_size)
        recorded = int(program.stdout.read())
        tab.until(f"() => ({STORED})() >= {recorded}")
    with open_store(db_path) as store:
        health = store.get_health()
    lost = sum(health.dropped.values())
    name = f"{tab_count} live tabs, {recorded / seconds:,.0f} spans/s for {seconds} s"
    figure(f"{name}: recorded, not stored", f"{recorded - health.stored} of {recorded:,}", "0")
    figure(f"{name}: largest write-ahead log", f"{largest / 2**20:.1f} MiB", f"< {WAL_BOUND_BYTES >> 20} MiB")
    assert (health.stored, lost) == (recorded, 0)
    assert stored_on(tab) > before
    assert largest < WAL_BOUND_BYTES


STORED = "() => Number(document.querySelector('#foot [data-of=stored]').textContent.replaceAll(',', ''))"


def stored_on(tab: Tab) -> int:
    return int(tab.page.evaluate(STORED))
