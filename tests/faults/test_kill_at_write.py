"""SIGKILL in the middle of a write, of a checkpoint, and of pruning: the file is whole and its accounts agree.

strace kills the program as its n-th write begins; a first run without a kill tells which write goes where.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from faults_kit import read_account

WRITES = "pwrite64,ftruncate,fdatasync"

SPANS = """
    import os
    from otel_perfmon import configure
    monitor = configure("metrics.db", durability="span")
    for number in range(12):
        with monitor.monitor("work"):
            pass
        os.write(1, b"%d\\n" % (number + 1))
    """
CHECKPOINTS = """
    import os
    from otel_perfmon import configure
    from otel_perfmon.storage.sqlite import writer
    writer.WAL_MAX_BYTES = 40_000
    monitor = configure("metrics.db", durability="span")
    for number in range(40):
        with monitor.monitor("work", attributes={"text": "x" * 3000}):
            pass
        os.write(1, b"%d\\n" % (number + 1))
    """
PRUNES = """
    import os
    from otel_perfmon import MetricsStorage, RetentionPolicy
    storage = MetricsStorage("metrics.db")
    for number in range(6_000):
        storage.insert_metric("work", 1.0, context={"text": "x" * 300})
    assert storage.recorder.flush()
    os.write(1, b"6000\\n")
    open("begins", "w").close()
    assert storage.store.prune(RetentionPolicy(3600.0, 3600.0, 1_500_000)) > 1_000
    """
REPAIR = """
    from otel_perfmon import MetricsStorage
    with MetricsStorage("metrics.db") as storage:
        storage.insert_metric("after", 1.0)
    """


def need_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        pytest.skip("strace may not trace here")


def last_number(text: str) -> int:
    whole = text.rpartition("\n")[0]
    return int(whole.rpartition("\n")[2] or 0)


def run_traced(folder: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    command = ["strace", "-f", "-qq", *options, sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def find_writes(tmp_path: Path, program: str) -> list[tuple[str, bool]]:
    """Where each write of the program's main thread goes, and whether the file ``begins`` was made before it."""
    result = run_traced(tmp_path / "first", program, "-y", "-o", "log", "-e", "trace=pwrite64,openat")
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "first" / "log").read_text().splitlines()
    main, has_begun, writes = lines[0].split()[0], False, []
    for line in lines:
        has_begun = has_begun or '"begins"' in line
        match = re.match(rf"{main} +pwrite64\(\d+<([^>]*)>", line)
        if match:
            writes.append((os.path.basename(match[1]), has_begun))
    return writes


def kill_at_write(tmp_path: Path, program: str, nth: int) -> bool:
    """Kill the program as its ``nth`` write to the file begins; False when it ended before."""
    folder = tmp_path / str(nth)
    inject = f"--inject={WRITES}:signal=KILL:when={nth}"
    result = run_traced(folder, program, "-o", "/dev/null", "-e", f"trace={WRITES}", inject)
    if (folder / "metrics.db").exists() and (folder / "metrics.db").stat().st_size:
        subprocess.run([sys.executable, "-c", textwrap.dedent(REPAIR)], cwd=folder, check=True)
        found = read_account(str(folder / "metrics.db"))
        assert found.names["after"] == 1
        assert found.dropped == {}
        assert found.stored - 1 >= last_number(result.stdout)
    else:
        assert last_number(result.stdout) == 0
    shutil.rmtree(folder)
    return result.returncode != 0


def some_of(places: list[int], count: int) -> list[int]:
    """So many of them, evenly; the last ones come at another number in another run."""
    places = places[: len(places) * 9 // 10]
    return places[:: max(1, len(places) // count)][:count]


def test_every_acknowledged_span_outlives_sigkill_at_some_writes(tmp_path):
    need_strace()
    for nth in (2, 15, 60):
        kill_at_write(tmp_path, SPANS, nth)


@pytest.mark.long
def test_every_acknowledged_span_outlives_sigkill_at_each_write(tmp_path, figure):
    need_strace()
    nth = 1
    while kill_at_write(tmp_path, SPANS, nth):
        nth += 1
    figure("a kill at each write of 12 spans: kills", nth - 1, "> 50")
    assert nth > 50


@pytest.mark.parametrize("count", [4, pytest.param(60, marks=pytest.mark.long)])
def test_a_kill_during_a_checkpoint_leaves_a_whole_file_whose_accounts_agree(tmp_path, figure, count):
    need_strace()
    writes = find_writes(tmp_path, CHECKPOINTS)
    checkpoints = [nth for nth, (name, _) in enumerate(writes, 1) if name == "metrics.db"]
    kills = [kill_at_write(tmp_path, CHECKPOINTS, nth) for nth in some_of(checkpoints, count)]
    figure("kills at a write of a checkpoint: corrupt, or accounts that do not agree", f"0 of {sum(kills)}", "0")
    assert sum(kills) > count // 2  # the others ended before, and were looked at like these


@pytest.mark.parametrize("count", [5, pytest.param(60, marks=pytest.mark.long)])
def test_a_kill_during_pruning_leaves_a_whole_file_whose_accounts_agree(tmp_path, figure, count):
    need_strace()
    prunes = [nth for nth, (_, has_begun) in enumerate(find_writes(tmp_path, PRUNES), 1) if has_begun]
    kills = [kill_at_write(tmp_path, PRUNES, nth) for nth in some_of(prunes, count)]
    figure("kills at a write of pruning: corrupt, or accounts that do not agree", f"0 of {sum(kills)}", "0")
    assert sum(kills) > count // 2  # the others ended before, and were looked at like these
