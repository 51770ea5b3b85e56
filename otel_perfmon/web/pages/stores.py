"""Store: what became of everything, how much room it takes, who records, where it is sent on to, and what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from otel_perfmon.account import Health, ProcessHealth, StoreSummary
from otel_perfmon.doctor import LAG_SECONDS, LONG_AGO_SECONDS, SILENT_SECONDS, examine
from otel_perfmon.storage.reasons import told_loss
from otel_perfmon.web.pages.page import Asked, Page

_EXAMINATION_SECONDS: Final = 3.0
_PROCESSES_MAX: Final = 200
_NOTE: Final = "note"
"""The severity of what is not wrong, but worth knowing."""


class Entry(NamedTuple):
    """A line of the ledger: how many, of what, and what that means; ``kind`` says whether it is a loss."""

    label: str
    span_count: int
    meaning: str
    kind: str = ""


class Account(NamedTuple):
    """A sum and the entries that make it up, to the last span."""

    total: Entry
    entries: tuple[Entry, ...]

    @property
    def is_balanced(self) -> bool:
        """Whether the entries make up the sum."""
        return self.total.span_count == sum(entry.span_count for entry in self.entries)


def ledger(health: Health) -> tuple[Account, Account]:
    """What became of all that ended, and of all that was counted."""
    counted = "in the statistics: counts, durations and errors of operations"
    ended = Account(
        Entry("ended", health.ended, "every span that ended in a process that records here"),
        (
            Entry("counted", health.counted, counted),
            *_losses(health.dropped),
            Entry("queued", health.queued, "waits in a process to be written"),
        ),
    )
    stored = Account(
        Entry("counted", health.counted, counted),
        (
            Entry("stored", health.stored, "with everything it carries"),
            Entry("sampled out", health.sampled_out, "by your sample rates: in the statistics, and not stored"),
        ),
    )
    return ended, stored


def _losses(reasons: Mapping[str, int]) -> Iterator[Entry]:
    for reason, count in reasons.items():
        sentence, advice = told_loss(reason)
        yield Entry(f"dropped: {reason}", count, f"{sentence}. {advice}", "err")
    if not reasons:
        yield Entry("dropped", 0, "nothing was lost")


def besides(health: Health) -> list[Entry]:
    """What is told beside the sums."""
    told = [
        Entry("pruned", health.pruned, "stored, and removed by age or for want of room since; the statistics stay"),
        Entry("altered", health.altered, "stored, with a part that was cut or replaced"),
        Entry("interrupted", health.interrupted, "stored, though it never ended: its process did"),
        Entry("held", health.held, "sampled out for now: waits for the verdict on its trace"),
        Entry("forwarded", health.forwarded, "taken by destinations"),
    ]
    for reason, count in health.not_kept.items():
        sentence, advice = told_loss(reason)
        told.append(Entry(f"not kept: {reason}", count, f"{sentence}. {advice}", "err"))
    return told


class Room(NamedTuple):
    """What the file and its log take of what they may, as shares."""

    file_share: float
    log_share: float
    is_over: bool

    @classmethod
    def of(cls, summary: StoreSummary) -> Room:
        """As it is now."""
        limit = max(1, summary.size_max_bytes)
        whole = max(limit, summary.file_bytes + summary.wal_bytes)
        is_over = summary.file_bytes + summary.wal_bytes > limit
        return cls(summary.file_bytes / whole, summary.wal_bytes / whole, is_over)


def state_of(process: ProcessHealth, now: float) -> tuple[str, str]:
    """How a process stands, in a word, and how that is to be seen: ``ok``, ``slow``, ``err`` or ``dim``."""
    if process.is_closed or not process.pid:
        return "closed", "dim"
    if process.is_alive is None:
        return "unknown", "dim"
    if not process.is_alive:
        return "died", "err" if now - process.updated <= LONG_AGO_SECONDS or process.health.queued else "dim"
    if now - process.updated > SILENT_SECONDS:
        return "silent", "err"
    if process.health.queued and process.oldest_queued and now - process.oldest_queued > LAG_SECONDS:
        return "behind", "slow"
    return "records", "ok"


def _is_worth_a_row(process: ProcessHealth) -> bool:
    return bool(process.health.ended or process.health.pruned or not (process.is_closed or not process.pid))


def _answer(asked: Asked) -> Mapping[str, Any]:
    now = time.time()
    health = asked.store.get_health()
    summary = asked.store.summarize_store()
    processes = [each for each in asked.store.list_processes() if _is_worth_a_row(each)]
    return {
        "health": health,
        "accounts": ledger(health),
        "besides": besides(health),
        "room": Room.of(summary),
        "processes": [(each, *state_of(each, now)) for each in processes[:_PROCESSES_MAX]],
        "process_count": len(processes),
        "mark": f"{sum(health.dropped.values())} {sum(each.failure_count for each in processes)}",
        "now": now,
    }


def _answer_findings(asked: Asked) -> Mapping[str, Any]:
    began = time.perf_counter()
    findings, evidence = examine(asked.store.summarize_store().path, seconds_max=_EXAMINATION_SECONDS)
    wrong = [each for each in findings if each.severity != _NOTE]
    return {
        "wrong": wrong,
        "notes": [each for each in findings if each.severity == _NOTE],
        "has_died": any(each.name == "died" for each in findings),
        "kinds": {"error": "err", "warning": "slow", _NOTE: ""},
        "evidence": evidence,
        "looked_unix_nano": time.time_ns(),
        "took_ms": (time.perf_counter() - began) * 1e3,
    }


def _answer_destinations(asked: Asked) -> Mapping[str, Any]:
    return {"destinations": asked.store.list_destinations(), "now": time.time()}


PAGES: Final = (
    Page("/store", "store.html", _answer, heading="Store"),
    Page("/store/findings", "findings.html", _answer_findings),
    Page("/store/destinations", "destinations.html", _answer_destinations),
)
