"""``otel-perfmon run -- gunicorn``: a Flask app that holds no line of ours, over HTTP, in four forked workers."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from faults_kit import read_account
from shop_kit import SHOP, bin_path, stored

REQUESTS = 300


def free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def ask(port: int, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize("options", [[], ["--preload"], ["-k", "gthread", "--threads", "4"]], ids=" ".join)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_each_request_of_forked_workers_is_stored_and_the_signal_that_ends_them_is_the_programs(
    tmp_path, figure, options, end
):
    Path("app.py").write_text(SHOP)
    port = free_port()
    command = [bin_path("otel-perfmon"), "run", "--slow", "100ms", "--", bin_path("gunicorn"), "-w", "4"]
    command += ["-b", f"127.0.0.1:{port}", "--log-level", "warning", *options, "app:app"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                ask(port, "/cart")
                break
            except OSError:
                time.sleep(0.05)
        statuses = Counter(ask(port, "/fail" if number % 10 == 0 else "/cart") for number in range(REQUESTS))
        statuses[ask(port, "/pay")] += 1
        process.send_signal(end)
        assert process.wait(30) == 0
    assert statuses == {200: REQUESTS * 9 // 10 + 1, 500: REQUESTS // 10}
    spans = stored()
    seen = Counter((span.name, span.is_slow, span.is_error) for span in spans)
    workers = {span.resource.attributes["service.instance.id"] for span in spans}
    figure(f"run -- gunicorn {' '.join(options)}, {end.name}: spans of 302 requests", len(spans), "302")
    figure(f"run -- gunicorn {' '.join(options)}, {end.name}: workers that answered", len(workers), "4 at most")
    assert seen == {
        ("GET /cart", False, False): REQUESTS * 9 // 10 + 1,
        ("GET /fail", False, True): REQUESTS // 10,
        ("GET /pay", True, False): 1,
    }
    assert read_account("metrics.db").dropped == {}
