"""What the fault tests share: the account of a file, and a file that another process has locked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

HOLD_OUR_LOCK = """
import fcntl, sys
file = open(sys.argv[1] + ".lock", "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
HOLD_SQLITES_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@dataclass
class Account:
    """What a file says of itself, read after every process that recorded has ended."""

    ended: int
    stored: int
    sampled_out: int
    dropped: dict[str, int]
    names: Counter[str] = field(default_factory=Counter)
    queued: int = 0


def read_account(path: str, *, is_of_now: bool = True) -> Account:
    """Read the account, and assert everything that must hold of any file, whatever was done to its writers.

    Of what ``is_of_now`` no statistics can be too old to be kept.
    """
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = "ended, counted, dropped, queued, stored, sampled_out, pruned, interrupted"
        sums = ", ".join(f"cast(total({name}) AS INTEGER)" for name in names.split(", "))
        told = connection.execute(f"SELECT {sums} FROM health").fetchone()
        ended, counted, dropped_count, queued, stored, sampled_out, pruned, interrupted = told
        drops = "SELECT reason, sum(count) FROM _drops WHERE reason NOT IN ('not_held', 'not_kept') GROUP BY reason"
        dropped = dict(connection.execute(drops).fetchall())
        names = Counter(dict(connection.execute("SELECT operation, count(*) FROM metrics GROUP BY 1").fetchall()))
        assert ended == counted + dropped_count + queued
        assert dropped_count == sum(dropped.values())
        assert counted == stored + sampled_out
        assert stored + interrupted - pruned == names.total()
        for resolution in (10, 60, 3600) if is_of_now else ():
            query = "SELECT total(count) FROM rollups WHERE resolution_s = ?"
            assert connection.execute(query, (resolution,)).fetchone()[0] == counted
    return Account(ended, stored, sampled_out, dropped, names, queued)


@contextmanager
def locked(path: str, program: str = HOLD_OUR_LOCK) -> Iterator[Callable[[], None]]:
    """Another process holds the lock for a block, or until the given function is called."""
    command = [sys.executable, "-c", program, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"

        def release() -> None:
            if not holder.stdin.closed:
                holder.stdin.close()
            holder.wait()

        try:
            yield release
        finally:
            release()


def read_integrity(path: str) -> None:
    """Assert that a file is whole, whatever was pruned from it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
