"""What the system says of a path, without opening what is there: closing it would drop SQLite's own locks."""

from __future__ import annotations

import os
from contextlib import suppress


def size_bytes(path: str) -> int:
    """How large a file is; 0 where there is none."""
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def inode_of(path: str) -> tuple[int, int] | None:
    """What tells one file from another that took its path: its device and number; None where there is none."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


def inode_number(path: str) -> int:
    """The number alone, for files in one folder; 0 where there is none."""
    with suppress(OSError):
        return os.stat(path).st_ino
    return 0
