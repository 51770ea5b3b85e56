"""A process is known again for certain, or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from otel_perfmon.storage import process as processes
from otel_perfmon.storage.process import ProcessIdentity, current, is_alive

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="start times are told by Linux's /proc")
TELL = (
    "import dataclasses, json, sys; from otel_perfmon.storage.process import current;"
    "print(json.dumps(dataclasses.astuple(current())), flush=True); sys.stdin.read()"
)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that says who it is, and waits."""
    command = [sys.executable, "-c", TELL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def told_by(process: subprocess.Popen[str]) -> ProcessIdentity:
    return ProcessIdentity(*json.loads(process.stdout.readline()))


def test_this_process_is_alive_and_the_same_each_time() -> None:
    assert current() == current()
    assert is_alive(current()) is True
    assert current().pid == os.getpid()


@linux_only
def test_another_process_is_alive_until_it_ends_even_before_its_parent_asks(other: subprocess.Popen[str]) -> None:
    identity = told_by(other)
    assert is_alive(identity) is True
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{other.pid}/stat").exists()
    assert is_alive(identity) is False
    other.wait()
    assert is_alive(identity) is False


@linux_only
def test_a_later_process_with_the_same_pid_is_not_the_same(other: subprocess.Popen[str]) -> None:
    identity = told_by(other)
    assert is_alive(replace(identity, started=str(int(identity.started) - 1))) is False
    assert is_alive(replace(current(), started="1")) is False


@linux_only
def test_what_another_boot_started_is_gone() -> None:
    assert is_alive(replace(current(), boot_id="another")) is False


@linux_only
def test_nobody_can_tell_of_a_process_in_another_container() -> None:
    assert is_alive(replace(current(), pid_namespace="pid:[1]")) is None
    assert is_alive(ProcessIdentity(2**22 + 1, "1", current().boot_id, "pid:[1]")) is None


@linux_only
def test_a_forked_child_is_another_process() -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, repr((current().pid, current() == current())).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as told:
        assert told.read() == repr((pid, True))


@linux_only
def test_a_process_whose_name_is_odd_is_read_all_the_same(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "30"]) as process:
        fields = processes._stat_fields(str(process.pid), process.pid)
        process.kill()
    assert int(fields[19]) > 0


def test_where_a_system_says_little_only_a_missing_pid_tells_something(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_read", lambda _: "")
    monkeypatch.setattr(processes, "_namespace", lambda: "")
    assert current() == ProcessIdentity(os.getpid(), "", "", "")
    assert is_alive(current()) is True
    identity = ProcessIdentity(other.pid, "", "", "")
    assert is_alive(identity) is None
    other.kill()
    other.wait()
    assert is_alive(identity) is (None if sys.platform == "win32" else False)


@pytest.mark.parametrize("pid", [0, -1, 2**70])
def test_a_number_that_is_no_pid_is_nobody_alive(pid: int) -> None:
    assert is_alive(replace(current(), pid=pid)) is False
