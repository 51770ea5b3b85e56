"""gunicorn under ``otel-perfmon run`` and opentelemetry-instrument: a Flask app without a line of ours, over HTTP."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from faults_kit import read_account
from shop_kit import NO_OTHER_SIGNALS, SHOP, SLOW, bin_path, stored

REQUESTS = 300


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def ask(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


RUN = ("otel-perfmon", "run", "--")
INSTRUMENT = ("opentelemetry-instrument", "--traces_exporter", "sqlite")
GEVENT = ("-k", "gevent")
CASES: list[tuple[tuple[str, ...], tuple[str, ...], signal.Signals]] = [
    (RUN, (), signal.SIGTERM),
    (RUN, ("--preload",), signal.SIGINT),
    (RUN, ("-k", "gthread", "--threads", "4"), signal.SIGTERM),
    (RUN, GEVENT, signal.SIGTERM),
    (INSTRUMENT, (), signal.SIGTERM),
    (INSTRUMENT, ("--preload",), signal.SIGTERM),
]


def _id_of(part: object) -> str:
    return (" ".join(part) or "plain") if isinstance(part, tuple) else str(part)


GEVENT_FIRST = {"OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "patch_all"}


@pytest.mark.parametrize(("door", "options", "end"), CASES, ids=_id_of)
def test_each_request_of_forked_workers_is_stored_and_the_signal_that_ends_them_is_the_programs(
    tmp_path, figure, door, options, end
):
    environment = {**os.environ, **SLOW, **NO_OTHER_SIGNALS, **(GEVENT_FIRST if options is GEVENT else {})}
    Path("app.py").write_text(SHOP)
    port = free_port()
    command = [bin_path(door[0]), *door[1:], bin_path("gunicorn"), "-w", "4"]
    command += ["-b", f"127.0.0.1:{port}", "--log-level", "warning", *options, "app:app"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                ask(port, "/cart")
                break
            except OSError:
                time.sleep(0.05)
        statuses = Counter(ask(port, "/fail" if number % 10 == 0 else "/cart") for number in range(REQUESTS))
        statuses.update([200, ask(port, "/pay")])  # and the first one
        process.send_signal(end)
        assert process.wait(30) == 0
    assert statuses == {200: REQUESTS * 9 // 10 + 2, 500: REQUESTS // 10}
    spans = stored()
    seen = Counter((span.name, span.is_error) for span in spans)
    workers = {span.resource.attributes["service.instance.id"] for span in spans}
    what = f"{door[0]} gunicorn {' '.join(options)}: requests, spans, workers that answered"
    figure(what, f"{statuses.total()}, {len(spans)}, {len(workers)}", "302, 302, 4 at most")
    assert seen == {
        ("GET /cart", False): REQUESTS * 9 // 10 + 1,
        ("GET /fail", True): REQUESTS // 10,
        ("GET /pay", False): 1,
    }
    assert [span.is_slow for span in spans if span.name == "GET /pay"] == [True]
    assert read_account("metrics.db").dropped == {}
    assert "Exception ignored" not in (tmp_path / "log").read_text()
