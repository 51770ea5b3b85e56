"""A store goes out to files and comes in elsewhere as it was, however large, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass

import pytest

RECORD = """
    import random, sys, otel_perfmon
    from opentelemetry import trace
    from opentelemetry.trace import Link, Status, StatusCode
    random.seed(6)
    monitor = otel_perfmon.configure("source.db")
    tracers = [trace.get_tracer(name, "1.0") for name in ("web", "db", "mail")]
    routes = [f"GET /{i}" for i in range(40)]
    spans = ("query", "render", "send")
    last = None
    for number in range(int(sys.argv[1]) // 5):
        start = 1_800_000_000_000_000_000 + number * 1_000_000
        with tracers[0].start_as_current_span(random.choice(routes), start_time=start, end_on_exit=False) as root:
            root.set_attributes({"user.id": number, "http.route": "/cart", "share": random.random()})
            for child in range(4):
                links = [Link(last, {"n": number})] if number % 50 == 0 and last else None
                span = tracers[child % 3].start_span(spans[child % 3], start_time=start + child * 1000, links=links)
                span.set_attribute("db.query.text", f"SELECT * FROM carts WHERE id = {number % 1000}")
                if random.random() < 0.01:
                    span.record_exception(ValueError(f"no cart {number}"))
                    span.set_status(Status(StatusCode.ERROR, "no cart"))
                last = span.get_span_context()
                span.end(end_time=start + child * 1000 + random.randrange(900))
        root.end(end_time=start + random.randrange(5_000, 100_000_000))
    monitor.force_flush(60_000) if hasattr(monitor, "force_flush") else monitor.flush()
"""
COMMAND = """
import sys, time
from otel_perfmon.cli.main import main
began = time.monotonic()
status = main(sys.argv[1:])
memory = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.monotonic() - began, int(memory.split()[1]) / 1024, time.process_time(), file=sys.stderr)
sys.exit(status)
"""
SPANS = """
    SELECT s.trace_id, s.span_id, s.parent_span_id, o.name, s.kind, s.flags, s.start_unix_nano, s.end_unix_nano,
        s.status_code, s.is_slow, s.attributes, s.details, r.attributes, r.schema_url, c.name, c.version, c.attributes
    FROM _spans s JOIN _operations o ON o.id = s.operation_id JOIN _resources r ON r.id = s.resource_id
        JOIN _scopes c ON c.id = s.scope_id
"""


@dataclass
class Ran:
    """What a command took: seconds, MiB of memory at most, seconds of CPU."""

    seconds: float
    memory_mib: float
    cpu_seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s of CPU), {self.memory_mib:.0f} MiB"


def run(*arguments: str) -> Ran:
    ended = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return Ran(*map(float, ended.stderr.splitlines()[-1].split()))


def digest(path: str) -> tuple[int, int]:
    """How many spans there are, and a number that is the same for the same spans in any order."""
    count = total = 0
    with closing(sqlite3.connect(path)) as connection:
        for row in connection.execute(SPANS):
            count += 1
            total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=16).digest(), "big")
    return count, total % 2**128


def statistics(path: str) -> list[dict]:
    found = []
    for words in (("stats",), ("errors", "--limit", "1000")):
        command = [sys.executable, "-m", "otel_perfmon", *words, "--json", "--db", path]
        found += json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["items"]
    return found


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is not told there")
@pytest.mark.parametrize("count", [5_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_a_store_that_went_out_and_came_in_elsewhere_has_the_same_spans_and_statistics(
    start_python, figure, count, monkeypatch
):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SIZE_MAX_BYTES", str(16 * 2**30))
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_RETENTION_SECONDS", "86400")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS", "50")
    began = time.monotonic()
    recording = start_python(RECORD, str(count))
    assert recording.communicate()[1] == ""
    figure(f"{count:,} spans recorded", f"{time.monotonic() - began:.1f} s")
    expected, expected_statistics = digest("source.db"), statistics("source.db")
    assert expected[0] == count
    memory_max = 100
    for form in ("otlp-json", "otlp-proto"):
        out = run("export", "--db", "source.db", "--format", form, "-o", "spans.out")
        into = run("import", "spans.out", "--db", f"{form}.db")
        figure(f"{count:,} spans: export to {form}", out, f"< {memory_max + 60} MiB")
        figure(f"{count:,} spans: import of {form}", into, f"< {memory_max + 60} MiB")
        os.unlink("spans.out")
        check(f"{form}.db", expected, expected_statistics)
        assert max(out.memory_mib, into.memory_mib) < memory_max + 60
    into = run("import", "source.db", "--db", "copy.db")
    figure(f"{count:,} spans: import of a store", into)
    check("copy.db", expected, expected_statistics)
    for form in ("jaeger-json", "parquet", "csv"):
        out = run("export", "--db", "source.db", "--format", form, "-o", "spans.out")
        figure(f"{count:,} spans: export to {form}", out)
        if form == "jaeger-json":
            into = run("import", "spans.out", "--db", "jaeger.db")
            figure(f"{count:,} spans: import of {form}", into)
            assert digest("jaeger.db")[0] == count
        os.unlink("spans.out")


def check(path: str, expected: tuple[int, int], expected_statistics: list[dict]) -> None:
    assert digest(path) == expected
    assert statistics(path) == expected_statistics
    os.unlink(path)
