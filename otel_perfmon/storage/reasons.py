"""What each reason for which spans are lost means, and what to do about it."""

from __future__ import annotations

from typing import Final

_TOLD: Final[dict[str, tuple[str, str]]] = {
    "queue_full": (
        "were dropped because the queue was full and nothing could be written",
        "The disk was full, dead or too slow, or the file locked: the log of the process says which; mend that.",
    ),
    "not_written": (
        "were still queued when their process ended and the file could not be written",
        "See why the file could not be written: room on the disk, permissions, another process that holds the lock.",
    ),
    "process_died": (
        "were queued when their process died",
        "Find out what ended it (kill -9, out of memory); durability='root' or 'span' writes at each end.",
    ),
    "unreadable": (
        "could not be read when they were to be recorded",
        "An attribute, a sampler or a processor raised: the log of the process names it.",
    ),
    "unstorable": (
        "had values that no column holds",
        "The log of the process says so when it happens; please report it with the span's attributes.",
    ),
    "invalid": (
        "were given to insert_metric with arguments that make no metric",
        "The log of the process says which argument was wrong.",
    ),
    "invalid_ids": (
        "came over the network with ids that are missing or are none, and were refused",
        "Their sender breaks OTLP; it was told so in the answer.",
    ),
    "missing": (
        "went missing when Ctrl-C met the writer twice in one step",
        "Nothing is to be done: the program was being stopped.",
    ),
    "not_held": (
        "of kept traces are counted and not stored, since they did not fit into what sampling may hold",
        "Traces with more than 128 spans below one root are cut: raise sample_rate for their root (sample_rates).",
    ),
    "not_kept": (
        "of kept traces are counted and not stored, since they could not be written",
        "See why writes failed, or which values could not be stored, in the log of the process.",
    ),
}


def told_loss(reason: str) -> tuple[str, str]:
    """What became of the spans, as the end of a sentence about them; and a sentence on what to do."""
    return _TOLD.get(reason, (f"were dropped: {reason}", "The log of the process says why."))
