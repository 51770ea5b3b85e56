"""Celery's prefork pool, with a broker of files: each task's span stored once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("celery")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

TASKS = 20
PROGRAM = """
import os
from celery import Celery
from celery.signals import worker_process_init
from otel_perfmon import configure, get_monitor

options = ("data_folder_in", "data_folder_out", "processed_folder", "control_folder", "polling_interval")
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = dict(zip(options, ("queue", "queue", "processed", "control", 0.05)))
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
for folder in ("queue", "processed", "control"):
    os.makedirs(folder, exist_ok=True)

CONFIGURE

@app.task
def work(number):
    with get_monitor().monitor("work"):
        pass
    with open("done", "a") as done:
        done.write("x")
"""
CONFIGURE = {
    "at import": "configure('metrics.db')",
    "in each process": "@worker_process_init.connect(weak=False)\ndef begin(**_):\n    configure('metrics.db')",
}


@pytest.mark.parametrize("where", ["at import", pytest.param("in each process", marks=pytest.mark.long)])
def test_every_span_of_processes_that_celery_replaces_is_stored_once(start_python, tmp_path, account, figure, where):
    (tmp_path / "tasks.py").write_text(PROGRAM.replace("CONFIGURE", CONFIGURE[where]))
    send = f"from tasks import work\nfor number in range({TASKS}): work.delay(number)"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, check=True, capture_output=True)
    worker = start_python("""
        from tasks import app
        options = "-c 4 -P prefork -l ERROR --without-gossip --without-mingle --without-heartbeat"
        app.worker_main(["worker", *options.split(), "--max-tasks-per-child=1"])
        """)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not ((tmp_path / "done").exists() and len_of(tmp_path / "done") == TASKS):
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)  # a warm shutdown
    worker.communicate(timeout=30)
    assert len_of(tmp_path / "done") == TASKS
    names = account().names
    figure(f"Celery, one task a process, configured {where}: stored", names["work"], f"{TASKS}")
    assert names == {"work": TASKS}


def len_of(path) -> int:
    return path.stat().st_size
