"""What can be found out about a file without changing it, whatever is in it: the evidence that a diagnosis goes by."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from otel_perfmon.account import DestinationHealth, ProcessHealth, StoreSummary
from otel_perfmon.errors import PerfmonError, StoreError
from otel_perfmon.storage.cells import DAY_S
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.damage import files_set_aside
from otel_perfmon.storage.sqlite.destinations import list_destinations
from otel_perfmon.storage.sqlite.file_system import file_system_of, is_remote
from otel_perfmon.storage.sqlite.health import read_processes
from otel_perfmon.storage.sqlite.seal import current_alteration
from otel_perfmon.storage.sqlite.summary import BEGUN_ANEW, summarize_store

COMPANIONS: Final = ("", "-wal", "-shm", ".lock")
_TRIES: Final = 3
_STEPS_AT_ONCE: Final = 10_000
_PROBLEMS_MAX: Final = 10
_BACKWARDS: Final = """
SELECT coalesce(max(before - unix_s), 0) FROM (
    SELECT unix_s, lag(unix_s) OVER (ORDER BY first_span_id) AS before FROM _arrivals)
"""


@dataclass(slots=True)
class Evidence:
    """What was found; None where it could not be. ``problems`` are SQLite's sentences about what is damaged.

    ``is_whole`` is False where the time did not suffice to look at all of the file, ``is_log_read`` where there is
    a log that could not be looked into. ``modes`` are the permissions of the files that are there, by what follows
    the path; ``not_files`` are those that are directories and the like, ``not_writable`` those that their owner may not
    write, who is not root; ``remote_file_system`` is the type of one that another machine keeps. Times in Unix seconds,
    ``now`` too; ``begun_anew`` is when a process came to the file since another one was removed or replaced under it;
    ``altered`` is when another program changed the file; ``backwards_seconds`` is how far the clock ran back at most
    between two arrivals.
    """

    path: str
    now: float = field(default_factory=time.time)
    sqlite_version: tuple[int, ...] = sqlite3.sqlite_version_info
    sizes_bytes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    moved_aside: list[str] = field(default_factory=list)
    free_bytes: int | None = None
    not_files: list[str] = field(default_factory=list)
    not_writable: list[str] = field(default_factory=list)
    remote_file_system: str | None = None
    refusal: StoreError | None = None
    schema_version: int | None = None
    problems: list[str] = field(default_factory=list)
    is_whole: bool = True
    is_log_read: bool = True
    processes: list[ProcessHealth] | None = None
    summary: StoreSummary | None = None
    row_count: int | None = None
    rollup_count: int | None = None
    last_end: float | None = None
    backwards_seconds: int | None = None
    begun_anew: float | None = None
    altered: float | None = None
    destinations: list[DestinationHealth] | None = None

    @property
    def wal_bytes(self) -> int:
        """What the write-ahead log takes."""
        return self.sizes_bytes.get("-wal", 0)


def gather_evidence(path: str, *, is_full: bool = False, seconds_max: float = 10.0) -> Evidence:
    """Look at the file at ``path`` and beside it. Raises `StoreError` only where there is nothing to look at.

    The database is looked at for ``seconds_max``; ``is_full`` looks at all of it, indexes and all, however long.
    """
    connections.check_readable(path)
    evidence = Evidence(path)
    for _ in range(_TRIES):
        before = _signature(path)
        evidence = Evidence(path)
        _look_beside(evidence)
        _look_inside(evidence, is_full=is_full, seconds_max=seconds_max)
        # Read as it stands while a process began to write: what looks like damage may be half a checkpoint.
        if evidence.is_log_read or not evidence.wal_bytes or before == _signature(path):
            break
    return evidence


def _signature(path: str) -> list[tuple[int, int, int] | None]:
    signature: list[tuple[int, int, int] | None] = []
    for suffix in ("", "-wal"):
        with suppress(OSError):
            status = os.stat(path + suffix)
            signature.append((status.st_ino, status.st_size, status.st_mtime_ns))
            continue
        signature.append(None)
    return signature


def _look_beside(evidence: Evidence) -> None:
    path = evidence.path
    for suffix in COMPANIONS:
        with suppress(OSError):
            status = os.stat(path + suffix)
            if not stat.S_ISREG(status.st_mode):
                evidence.not_files.append(path + suffix)
                continue
            evidence.sizes_bytes[suffix] = status.st_size
            evidence.modes[suffix] = stat.S_IMODE(status.st_mode)
            if status.st_uid and not status.st_mode & stat.S_IWUSR:
                evidence.not_writable.append(path + suffix)
    evidence.moved_aside = files_set_aside(path)
    evidence.altered = current_alteration(path) or None
    kind = file_system_of(path)
    evidence.remote_file_system = kind if kind is not None and is_remote(kind) else None
    with suppress(OSError):
        evidence.free_bytes = shutil.disk_usage(os.path.dirname(path)).free


def _look_inside(evidence: Evidence, *, is_full: bool, seconds_max: float) -> None:
    path = evidence.path
    try:
        with connections.translated(path):
            connections.check_ours(path)
            with closing(connections.open_untouched(path)) as connection:
                evidence.is_log_read = not (connection.is_immutable and evidence.wal_bytes)
                if not is_full:
                    deadline = time.monotonic() + seconds_max
                    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_AT_ONCE)
                _ask_all(connection, evidence, is_full=is_full)
    except StoreError as error:
        evidence.refusal = error


def _ask_all(connection: sqlite3.Connection, evidence: Evidence, *, is_full: bool) -> None:
    """Each question by itself: what is damaged in one place may answer in another. The slow ones last."""

    def one(sql: str) -> Any:
        return connection.execute(sql).fetchone()[0]

    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("BEGIN")
    questions: dict[str, Callable[[], Any]] = {
        "schema_version": lambda: one("PRAGMA user_version"),
        "processes": lambda: read_processes(connection),
        "destinations": lambda: list_destinations(connection),
        "summary": lambda: summarize_store(connection, evidence.path),
        "last_end": lambda: (one("SELECT max(end_unix_nano) FROM _spans") or 0) / 1e9 or None,
        "backwards_seconds": lambda: one(_BACKWARDS),
        "begun_anew": lambda: one(f"SELECT max(value) FROM _facts WHERE name = '{BEGUN_ANEW}'"),
        "rollup_count": lambda: one(f"SELECT coalesce(sum(count), 0) FROM _rollups WHERE resolution_s = {DAY_S}"),
        "row_count": lambda: one("SELECT count(*) FROM _spans"),
        "problems": lambda: _checked(connection, is_full=is_full),
    }
    for name, question in questions.items():
        with _noting_trouble(evidence):
            answer = question()
            setattr(evidence, name, [*evidence.problems, *answer] if name == "problems" else answer)


def _checked(connection: sqlite3.Connection, *, is_full: bool) -> list[str]:
    check = "integrity_check" if is_full else "quick_check"
    found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_PROBLEMS_MAX})")]
    return [] if found == ["ok"] else found


@contextmanager
def _noting_trouble(evidence: Evidence) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            evidence.is_whole = False
        elif str(error) not in evidence.problems:
            evidence.problems.append(str(error))
    except PerfmonError as error:
        evidence.problems.append(str(error))
    except Exception as error:  # what stands in a damaged file may be anything
        evidence.problems.append(f"what is stored cannot be read: {type(error).__name__}: {error!s:.200}")
