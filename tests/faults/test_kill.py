"""A process that is killed: what was acknowledged is there, and no batch is there in part."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
from faults_kit import read_account

ACKNOWLEDGE = {
    "durability=span": """
        import itertools, os
        from otel_perfmon import configure
        monitor = configure("metrics.db", durability="span")
        for number in itertools.count():
            with monitor.monitor("work"):
                pass
            os.write(1, b"%d\\n" % (number + 1))
        """,
    "exporter": """
        import itertools, os
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
        from otel_perfmon import SQLiteSpanExporter
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
        exporter = SQLiteSpanExporter("metrics.db")
        for number in itertools.count(1):
            spans = [tracer.start_span("work") for _ in range(50)]
            for span in spans:
                span.end()
            if exporter.export(spans) is SpanExportResult.SUCCESS:
                os.write(1, b"%d\\n" % (number * 50))
        """,
}


def last_number(text: str) -> int:
    whole = text.rpartition("\n")[0]
    return int(whole.rpartition("\n")[2] or 0)


def kill_at_a_random_moment(start_python, tmp_path, program: str, seed: int) -> None:
    acknowledged = tmp_path / f"{seed}.txt"
    before = read_account(str(tmp_path / "metrics.db")).stored if (tmp_path / "metrics.db").exists() else 0
    with acknowledged.open("w") as output:
        process = start_python(program, stdout=output)
        while process.poll() is None and last_number(acknowledged.read_text()) == 0:
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0, 0.2))
        process.kill()
        process.wait()
    after = read_account(str(tmp_path / "metrics.db"))
    assert after.stored - before >= last_number(acknowledged.read_text()) > 0
    assert after.dropped == {}


@pytest.mark.parametrize("way", ACKNOWLEDGE)
def test_every_acknowledged_span_outlives_sigkill_at_random_moments(start_python, tmp_path, way):
    for seed in range(3):
        kill_at_a_random_moment(start_python, tmp_path, ACKNOWLEDGE[way], seed)


@pytest.mark.long
@pytest.mark.parametrize("way", ACKNOWLEDGE)
def test_every_acknowledged_span_outlives_sigkill_200_times(start_python, tmp_path, way):
    for seed in range(200):
        kill_at_a_random_moment(start_python, tmp_path, ACKNOWLEDGE[way], seed)


def kill_at_write(tmp_path, nth: int) -> bool:
    """Kill the program as its ``nth`` write to the file begins; False when it ended before."""
    folder = tmp_path / str(nth)
    folder.mkdir()
    program = textwrap.dedent(ACKNOWLEDGE["durability=span"]).replace("itertools.count()", "range(12)")
    inject = f"--inject=pwrite64,ftruncate,fdatasync:signal=KILL:when={nth}"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,ftruncate,fdatasync", inject]
    result = subprocess.run(
        [*command, sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    if (folder / "metrics.db").exists() and (folder / "metrics.db").stat().st_size:
        repair = (
            "from otel_perfmon import MetricsStorage\n"
            "with MetricsStorage('metrics.db') as storage: storage.insert_metric('after', 1.0)"
        )
        subprocess.run([sys.executable, "-c", repair], cwd=folder, check=True)
        names = read_account(str(folder / "metrics.db")).names
        assert names["after"] == 1
        assert names["work"] >= last_number(result.stdout)
    else:
        assert last_number(result.stdout) == 0
    shutil.rmtree(folder)
    return result.returncode != 0


def need_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace may not trace here")


def test_every_acknowledged_span_outlives_sigkill_at_some_writes(tmp_path):
    need_strace()
    for nth in (2, 15, 60):
        kill_at_write(tmp_path, nth)


@pytest.mark.long
def test_every_acknowledged_span_outlives_sigkill_at_each_write(tmp_path):
    need_strace()
    nth = 1
    while kill_at_write(tmp_path, nth):
        nth += 1
    assert nth > 50
