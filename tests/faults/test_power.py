"""A power cut: what a copy of the disk holds that was taken while a program wrote to it.

The file system is an ext4 image behind a loop device: what the kernel has not written back yet is not in the image,
as it would not be on the disk. The copy is taken with the device at rest, mounted (which replays ext4's journal), and
read.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from faults_kit import read_account

IMAGE_BYTES = 64 * 1024 * 1024

RECORDS = """
import struct, sys, time
from otel_perfmon import configure
monitor = configure(sys.argv[1], durability=sys.argv[2], size_max_bytes="64MB", retention_seconds=1)
number = 0
while True:
    with monitor.monitor("work", attributes={"number": number, "text": "x" * 400}):
        pass
    number += 1
    if number % 100 == 0:
        if not monitor.force_flush():
            break
        print(number, flush=True)  # committed up to here
"""


def run(*command: str) -> str:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"this machine cannot mount an image: {result.stderr.strip()}")
    return result.stdout.strip()


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    run("mount", "-o", "loop", str(image), str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting an ext4 image needs root and mkfs.ext4")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.ext4", "-q", "-F", str(image))
    return image


def copy_at_rest(image: Path, copy: Path) -> None:
    """Copy what is on the disk at one moment: again, if the device was written to meanwhile."""
    device = run("losetup", "-n", "-O", "NAME", "-j", str(image))
    figures = Path("/sys/block", os.path.basename(device), "stat")
    for _ in range(50):
        before = figures.read_text().split()[4:7]  # writes done
        shutil.copyfile(image, copy)
        if figures.read_text().split()[4:7] == before:
            return
        time.sleep(0.02)
    raise AssertionError("the disk is never at rest")


def cut_power(start_python, tmp_path: Path, image: Path, durability: str, seed: int) -> tuple[int, int]:
    """How many spans were committed before the cut, and how many of those the disk had."""
    copy = tmp_path / "copy.img"
    acknowledged = tmp_path / f"acknowledged {seed}"
    with mounted(image, tmp_path / "disk"):
        with acknowledged.open("w") as output:
            process = start_python(RECORDS, str(tmp_path / "disk" / f"{seed}.db"), durability, stdout=output)
            time.sleep(random.Random(seed).uniform(1.5, 3))
            process.send_signal(signal.SIGSTOP)  # the cut: what the kernel writes back after it is the kernel's doing
            committed = int(acknowledged.read_text().rpartition("\n")[0].rpartition("\n")[2] or 0)
            copy_at_rest(image, copy)
            process.kill()
            process.wait()
        for file in (tmp_path / "disk").glob(f"{seed}.db*"):
            file.unlink()
    with mounted(copy, tmp_path / "after"):
        path = str(tmp_path / "after" / f"{seed}.db")
        if not os.path.exists(path) or not os.path.getsize(path):
            return committed, 0
        with closing(sqlite3.connect(path)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:  # its log was not on the disk yet
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                return committed, 0
        assert read_account(path).dropped == {}
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT json_extract(attributes, '$.number') FROM spans ORDER BY 1"
            numbers = [number for (number,) in connection.execute(query)]
    assert numbers == list(range(len(numbers)))  # nothing is missing but at the end
    return committed, min(len(numbers), committed)


CUTS = [(durability, 2) for durability in ("batch", "span")]
MANY_CUTS = [pytest.param((durability, 25), marks=pytest.mark.long) for durability in ("batch", "span")]


@pytest.mark.parametrize("what", [*CUTS, *MANY_CUTS], ids=lambda what: f"{what[1]} {what[0]}")
def test_a_power_cut_corrupts_nothing_and_takes_only_the_last_moments(start_python, tmp_path, image, figure, what):
    durability, cuts = what
    found = [cut_power(start_python, tmp_path, image, durability, seed) for seed in range(cuts)]
    committed, kept = sum(each[0] for each in found), sum(each[1] for each in found)
    figure(f"{cuts} power cuts, {durability}: corrupt files", 0, "0")
    figure(f"{cuts} power cuts, {durability}: committed, and gone", f"{committed}, {committed - kept}")
    assert committed > 0
