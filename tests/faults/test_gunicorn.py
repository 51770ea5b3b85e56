"""gunicorn with four workers, one of which is killed: each answered request's span stored once."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from faults_kit import read_account

pytest.importorskip("gunicorn")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

LAST_MOMENTS_SECONDS = 0.25
CLIENTS = 4
PAUSE_SECONDS = 0.008  # a busy service; with every core at its limit no writer could promise a time
APP = """
import os
from otel_perfmon import configure
monitor = configure("metrics.db")

def app(environ, start_response):
    number = int(environ["PATH_INFO"][1:])
    with monitor.monitor("request", attributes={"number": number}):
        with monitor.monitor("inner"):
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"""


class Load:
    """Clients that send numbered requests one after another; which worker answered each, and when."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.answers: dict[int, tuple[int, float]] = {}
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(count):
            self._numbers.put(number)
        self._threads = [threading.Thread(target=self._send_all) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)

    def _send_all(self) -> None:
        while True:
            try:
                number = self._numbers.get_nowait()
            except queue.Empty:
                return
            time.sleep(PAUSE_SECONDS)
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
                    connection.request("GET", f"/{number}")
                    worker = int(connection.getresponse().read())
                self.answers[number] = worker, time.monotonic()
            except (OSError, http.client.HTTPException, ValueError):  # the worker was killed under it
                pass

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.answers) < count and time.monotonic() < deadline:
            time.sleep(0.002)


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def serve(tmp_path, start_python):
    def serve(*options: str) -> int:
        (tmp_path / "shop.py").write_text(APP)
        port = free_port()
        with (tmp_path / "log").open("w") as log:
            command = ["-w", "4", "-b", f"127.0.0.1:{port}", "--log-level", "warning", *options, "shop:app"]
            program = f"import sys; sys.argv = ['gunicorn', *{command!r}]; from gunicorn.app.wsgiapp import run; run()"
            serve.process = start_python(program, stdout=log, stderr=log, stdin=None)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with closing(socket.socket()) as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.02)
        raise AssertionError((tmp_path / "log").read_text())

    return serve


SHORT = [(1_000, options) for options in ("", "--preload")]
LONG = [
    pytest.param((10_000, options), marks=pytest.mark.long)
    for options in ("", "--preload", "--max-requests 200", "-k gthread --threads 4")
]


@pytest.mark.parametrize("load", [*SHORT, *LONG], ids=lambda load: f"{load[0]} {load[1]}")
def test_the_span_of_every_answered_request_is_stored_once_though_a_worker_is_killed(serve, tmp_path, figure, load):
    count, options = load
    load = Load(serve(*options.split()), count)
    load.start()
    load.wait_for(count // 2)
    victim = list(load.answers.copy().values())[-1][0]
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    load.join()
    serve.process.terminate()
    assert serve.process.wait(30) == 0
    assert read_account(str(tmp_path / "metrics.db")).dropped == {}
    with closing(sqlite3.connect(tmp_path / "metrics.db")) as connection:
        query = "SELECT json_extract(attributes, '$.number') FROM spans WHERE name = 'request'"
        numbers = [number for (number,) in connection.execute(query)]
    lost = load.answers.keys() - set(numbers)
    early = [n for n in lost if load.answers[n][0] != victim or load.answers[n][1] < killed_at - LAST_MOMENTS_SECONDS]
    what = f"gunicorn {options}: answered of {count}, lost, of these not in the killed worker's last 250 ms"
    figure(what, f"{len(load.answers)}, {len(lost)}, {len(early)}", "the last 0")
    assert len(load.answers) >= count - CLIENTS
    assert early == []
    assert len(numbers) == len(set(numbers))
    assert "database is locked" not in (tmp_path / "log").read_text()
    assert "stayed locked" not in (tmp_path / "log").read_text()
