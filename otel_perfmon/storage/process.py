"""Who a process is, so that another one can tell later whether it still runs: a pid may be somebody else's by then.

On Linux a process is its pid together with the clock tick of the boot at which it started (proc(5), ``/proc/PID/stat``,
field 22). What another boot started is gone: the file is never shared over a network. A pid that was given out in
another pid namespace, such as a container's, means nothing here, and of such a process nobody can say anything. Where
there is no ``/proc``, a pid that is in use may be a later process's, so only its absence tells something.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STATE, _STARTED = 0, 19
"""Their places among the fields behind the name, which is in parentheses and may hold any character."""
_ENDED_STATES: Final = ("Z", "X", "x")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What tells one process from all others; a part is empty where the system does not say."""

    pid: int
    started: str
    boot_id: str
    pid_namespace: str


def current() -> ProcessIdentity:
    """Who we are, asked anew each time (40 µs): after a fork it is another one."""
    pid = os.getpid()
    fields = _stat_fields("self", pid)
    return ProcessIdentity(pid, fields[_STARTED] if fields else "", _read("sys/kernel/random/boot_id"), _namespace())


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether this very process still runs; None if that cannot be told from here. Needs no rights over it."""
    here = current()
    if process == here:
        return True
    if process.boot_id != here.boot_id:
        return False if process.boot_id and here.boot_id else None
    if process.pid_namespace != here.pid_namespace:
        return None
    fields = _stat_fields(str(process.pid), process.pid) if here.started else []
    if not fields:
        return False if _is_gone(process.pid) else None
    if fields[_STATE] in _ENDED_STATES:  # ended, and its parent has not asked yet how
        return False
    return fields[_STARTED] == process.started if process.started else None


def _stat_fields(entry: str, pid: int) -> list[str]:
    """The fields behind the name; none where ``/proc`` has no such process, or is another pid namespace's."""
    start, _, rest = _read(f"{entry}/stat").rpartition(")")
    fields = rest.split()
    return fields if start.startswith(f"{pid} ") and len(fields) > _STARTED else []


def _is_gone(pid: int) -> bool:
    """Whether there is certainly no process with that pid."""
    if sys.platform == "win32":  # where signal 0 is Ctrl-C
        return False
    try:
        os.kill(max(pid, 1), 0)  # what is below 1 means a group
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return pid < 1


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _read(entry: str) -> str:
    with suppress(OSError):
        return Path("/proc", entry).read_text(encoding="utf-8", errors="replace").strip()
    return ""
