"""What survives which end of a process, for each durability: the table in the README, cell by cell."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here")

TRACES = 50
PROGRAM = """
import os, signal, sys, time
from otel_perfmon import configure
monitor = configure("metrics.db", durability=sys.argv[1])

def record(name):
    for _ in range(TRACES):
        with monitor.monitor(f"{name} root"):
            with monitor.monitor(f"{name} inner"):
                pass

with monitor.monitor("first"):
    pass
assert monitor.force_flush()  # the file is there
record("old")
time.sleep(0.25)
record("new")
with monitor.monitor("open root"):
    with monitor.monitor("open inner"):
        pass
    END
""".replace("TRACES", str(TRACES))

CLEAN = {
    "exception": ("raise ValueError('mine')", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "SIGINT": ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
}
SUDDEN = {
    "os._exit": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}
IN_BATCH = {"first": 1, "old root": TRACES, "old inner": TRACES}
IN_ROOT = {**IN_BATCH, "new root": TRACES, "new inner": TRACES}
SURVIVES = {"batch": IN_BATCH, "root": IN_ROOT, "span": {**IN_ROOT, "open inner": 1}}
ALL = {**SURVIVES["span"], "open root": 1}


def run_to_the_end(start_python, durability: str, ending: str, code: int) -> None:
    process = start_python(PROGRAM.replace("END", ending), durability)
    process.communicate(timeout=30)
    assert process.returncode == code


@pytest.mark.parametrize("ending", CLEAN)
@pytest.mark.parametrize("durability", SURVIVES)
def test_an_orderly_end_keeps_everything(start_python, account, durability, ending):
    run_to_the_end(start_python, durability, *CLEAN[ending])
    assert account().names == ALL


@pytest.mark.parametrize("ending", SUDDEN)
@pytest.mark.parametrize("durability", SURVIVES)
def test_a_sudden_end_keeps_what_the_durability_promises(start_python, account, figure, durability, ending):
    run_to_the_end(start_python, durability, *SUDDEN[ending])
    names = account().names
    figure(f"{ending}, {durability}: stored", f"{names.total()} of 202", f"≥ {sum(SURVIVES[durability].values())}")
    assert {name: names[name] for name in SURVIVES[durability]} == SURVIVES[durability]
    assert all(names[name] <= ALL[name] for name in names)
    assert "open root" not in names


# docker stop, systemd, Kubernetes and a terminated multiprocessing.Process send SIGTERM, and Python's default for it is
# to die at once. One line of the program's own makes an orderly end of it. (In the workers of a multiprocessing.Pool
# that is terminated it makes the pool hang, 2 times of 19 without any of us: the signal comes before sem_wait.)


def test_a_handler_that_exits_makes_sigterm_an_orderly_end(start_python, account):
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    run_to_the_end(start_python, "batch", handler + SUDDEN["SIGTERM"][0] + "; time.sleep(10)", 143)
    assert account().names == ALL
