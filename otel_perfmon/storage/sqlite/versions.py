"""Known faults of the SQLite that this Python is linked with, and what they mean for a store."""

from __future__ import annotations

from typing import Final

WAL_RESET_FIXED: Final = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""The first release without the fault, and the corrected releases of older lines."""


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """Whether a checkpoint may lose pages that another connection commits meanwhile (sqlite.org/wal.html)."""
    newest, *corrected = WAL_RESET_FIXED
    return version < newest and not any(version[:2] == each[:2] and version >= each for each in corrected)


def known_faults(version: tuple[int, ...]) -> list[tuple[str, str]]:
    """For each fault a sentence, and one on what is to be done."""
    name = ".".join(map(str, version))
    found = []
    if has_wal_reset_fault(version):
        found.append(
            (
                f"SQLite {name} has the WAL-reset fault: a checkpoint beside another process's commit can lose pages.",
                "No action is needed: our lock file keeps it away. No other program should write to the file.",
            )
        )
    return found
