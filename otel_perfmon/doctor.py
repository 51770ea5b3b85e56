"""What is wrong with a store, and what to do about it: findings from evidence that is gathered without a change.

A *finding* is one sentence on what is wrong and one on what to do. A ``note`` is worth knowing and asks for nothing
now; a ``warning`` may become trouble; an ``error`` is trouble: something was lost, or is about to be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from otel_perfmon.account import DestinationHealth, ProcessHealth
from otel_perfmon.errors import SchemaError
from otel_perfmon.storage.reasons import told_loss
from otel_perfmon.storage.sqlite.examination import Evidence, gather_evidence
from otel_perfmon.storage.sqlite.free_space import FREE_SPACE_MIN_BYTES
from otel_perfmon.storage.sqlite.schema import SCHEMA_VERSION
from otel_perfmon.storage.sqlite.seal import alteration_of
from otel_perfmon.storage.sqlite.versions import known_faults
from otel_perfmon.storage.sqlite.writer import WAL_MAX_BYTES

SILENT_SECONDS: Final = 180.0
"""A process that records writes at least each minute."""
LAG_SECONDS: Final = 10.0
LONG_AGO_SECONDS: Final = 3_600.0
_CLOCK_SECONDS: Final = 60.0
_BEHIND_SECONDS: Final = 600.0
_WAL_LARGE_BYTES: Final = 4 * WAL_MAX_BYTES
_OVER_SIZE: Final = 1.1
_PAST: Final = "past"
_MODE_OF_OTHERS: Final = 0o077
_WRITTEN_BY_OTHERS: Final = 0o022
_MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing: what it is, and what to do about it."""

    name: str
    severity: Literal["error", "warning", "note"]
    sentence: str
    advice: str


def examine(path: str, *, is_full: bool = False, seconds_max: float = 10.0) -> tuple[list[Finding], Evidence]:
    """The findings on the store at ``path``, the worst first, and what they go by. Changes nothing.

    The database is looked at for at most ``seconds_max``; ``is_full`` checks all of it, indexes too. Raises
    `StoreError` where there is nothing to look at.
    """
    evidence = gather_evidence(path, is_full=is_full, seconds_max=seconds_max)
    return find_all(evidence), evidence


def find_all(evidence: Evidence) -> list[Finding]:
    """What the evidence says, the worst first."""
    found = [each for rule in _RULES for each in rule(evidence)]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda each: order.index(each.severity))


# --- the file


def _refused(evidence: Evidence) -> Iterator[Finding]:
    error = evidence.refusal
    if isinstance(error, SchemaError):
        advice = "It was left as it is."
        yield Finding("not_readable", "error", str(error), advice)
    elif error is not None and evidence.sizes_bytes.get("") == 0:
        yield Finding("empty", "note", str(error), "Record into it, or remove it.")
    elif error is not None:
        advice = "Nothing was changed. What is left of a damaged store can be saved with sqlite3's '.recover'."
        yield Finding("not_readable", "error", str(error), advice)


def _damaged(evidence: Evidence) -> Iterator[Finding]:
    if evidence.problems:
        first = evidence.problems[0].replace("\n", " ")
        more = f" (and {len(evidence.problems) - 1} more)" if len(evidence.problems) > 1 else ""
        advice = (
            f"Save what is left with 'sqlite3 {evidence.path} .recover | sqlite3 saved.db', then move the file away"
            " with its -wal and -shm; what records makes a new one. Figures from this one may be wrong."
        )
        yield Finding("damaged", "error", f"{evidence.path} is damaged: {first}{more}.", advice)
    if not evidence.is_whole:
        sentence = "The file is too large to be checked wholly in the time given."
        yield Finding("not_checked", "note", sentence, "'otel-perfmon doctor --full' takes as long as it needs.")
    if not evidence.is_log_read:
        sentence = "The -shm file is missing beside a log, which could not be looked into without making one."
        advice = "Any other command, such as 'otel-perfmon info', makes it anew and reads the log; then ask again."
        yield Finding("log_not_read", "warning", sentence, advice)


def _schema(evidence: Evidence) -> Iterator[Finding]:
    version = evidence.schema_version
    if version is not None and version < SCHEMA_VERSION:
        sentence = f"The file has schema {version}; this otel-perfmon writes schema {SCHEMA_VERSION}."
        yield Finding("old_schema", "note", sentence, "The next process that records into it brings it up to date.")


def _moved_aside(evidence: Evidence) -> Iterator[Finding]:
    for path in (each for each in evidence.moved_aside if not each.endswith(("-wal", "-shm"))):
        sentence = f"A damaged file was moved aside: {path}."
        advice = "Save what is left in it with sqlite3's '.recover'; otherwise delete it with its -wal and -shm."
        yield Finding("moved_aside", "warning", sentence, advice)


def _begun_anew(evidence: Evidence) -> Iterator[Finding]:
    """What stood in a file that is gone is gone with it; told for as long as it would have been kept."""
    when, summary = evidence.begun_anew, evidence.summary
    if when is not None and summary is not None and evidence.now - when < summary.keep_seconds:
        told = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
        sentence = (
            f"Begun anew at {told}: the file at this path was moved, replaced or removed under a process that recorded"
            " into it."
        )
        advice = (
            "What was recorded before is in the old file, if that is left; stop what records before you move a file."
        )
        yield Finding("begun_anew", "warning", sentence, advice)


def _altered(evidence: Evidence) -> Iterator[Finding]:
    if evidence.altered is not None and not evidence.problems and evidence.refusal is None:
        advice = (
            "If nobody knows why, copy what matters and move the file away with its -wal and -shm: what records makes a"
            f" new one. If it was meant, stop what records and remove {evidence.path}.lock, and it is forgotten."
        )
        yield Finding("altered", "warning", alteration_of(evidence.path, int(evidence.altered)), advice)


def _not_files(evidence: Evidence) -> Iterator[Finding]:
    for name in evidence.not_files:
        sentence = f"{name} is a directory, or no regular file, so that nothing can be recorded or asked."
        yield Finding("not_a_file", "error", sentence, f"Move {name} away; what records makes the file by itself.")


def _network(evidence: Evidence) -> Iterator[Finding]:
    kind = evidence.remote_file_system
    if kind is not None:
        sentence = f"The file lies on a network file system ({kind}), where nothing can be recorded into it."
        advice = "Record into a file on a local disk, one for each machine; a copy of it may be asked anywhere."
        yield Finding("network", "warning", sentence, advice)


def _permissions(evidence: Evidence) -> Iterator[Finding]:
    for name in evidence.not_writable:
        sentence = f"{name} is not writable for its owner, who cannot record into it."
        yield Finding("not_writable", "error", sentence, f"chmod 600 {name}")
    if evidence.refusal is not None:  # perhaps no store at all
        return
    for suffix, mode in evidence.modes.items():
        if mode & _MODE_OF_OTHERS:
            name, may = evidence.path + suffix, "change" if mode & _WRITTEN_BY_OTHERS else "read"
            sentence = f"{name} has mode {mode:04o}: other users of this machine may {may} it."
            yield Finding("mode", "warning", sentence, f"chmod 600 {name}")


def _lock(evidence: Evidence) -> Iterator[Finding]:
    if ".lock" not in evidence.sizes_bytes and any(each.is_alive for each in evidence.processes or ()):
        sentence = f"{evidence.path}.lock is gone, though a process that records is alive."
        yield Finding("lock_missing", "note", sentence, "The next write makes it anew; whatever removes it should not.")


# --- room


def _log(evidence: Evidence) -> Iterator[Finding]:
    size = evidence.wal_bytes
    if size > _WAL_LARGE_BYTES:
        sentence = f"The write-ahead log takes {size / _MB:,.0f} MB; it should take {WAL_MAX_BYTES // _MB} MB."
        advice = (
            "Somebody reads in one long transaction (an SQL client left open, a backup), or a process died while it"
            " wrote: end that, and the next write empties the log; if nothing records, 'otel-perfmon prune' does."
        )
        yield Finding("log_large", "warning", sentence, advice)


def _size(evidence: Evidence) -> Iterator[Finding]:
    if evidence.summary is None:
        return
    size, limit = sum(evidence.sizes_bytes.values()), evidence.summary.size_max_bytes
    if size > limit * _OVER_SIZE:
        sentence = f"The file and its log take {size / _MB:,.0f} MB; the limit is {limit / _MB:,.0f} MB."
        advice = "'otel-perfmon prune' brings it down, unless somebody reads in one long transaction; end that first."
        yield Finding("over_size", "warning", sentence, advice)


def _free_space(evidence: Evidence) -> Iterator[Finding]:
    free = evidence.free_bytes
    if free is None:
        return
    if free < FREE_SPACE_MIN_BYTES:
        least = FREE_SPACE_MIN_BYTES // _MB
        sentence = f"{free / _MB:.1f} MB are free on the disk: below {least} MB nothing is written."
        yield Finding("disk_full", "error", sentence, "Make room; recording goes on by itself, what waits is written.")
        return
    limit = evidence.summary.size_max_bytes if evidence.summary is not None else 0
    growth = max(0, limit - sum(evidence.sizes_bytes.values()))
    if free - FREE_SPACE_MIN_BYTES < growth:
        sentence = f"{free / _MB:,.0f} MB are free on the disk, and the file may still grow by {growth / _MB:,.0f} MB."
        yield Finding("disk_low", "warning", sentence, "Make room, or set a lower size_max_bytes.")


# --- the account


def _losses(evidence: Evidence) -> Iterator[Finding]:
    """What was lost by a process that was heard of in the last hour is trouble; the rest is history."""
    recent: dict[str, int] = {}
    past: dict[str, int] = {}
    for process in evidence.processes or ():
        is_long_ago = process.process == _PAST or evidence.now - process.updated > LONG_AGO_SECONDS
        counts = past if is_long_ago else recent
        for reasons in (process.health.dropped, process.health.not_kept):
            for reason, count in reasons.items():
                counts[reason] = counts.get(reason, 0) + count
    for reason, count in recent.items():
        sentence, advice = told_loss(reason)
        more = f" ({past.pop(reason):,} more long ago)" if reason in past else ""
        yield Finding(f"dropped:{reason}", "error", f"{count:,} spans {sentence}{more}.", advice)
    for reason, count in past.items():
        sentence, advice = told_loss(reason)
        yield Finding(f"dropped:{reason}", "note", f"More than an hour ago {count:,} spans {sentence}.", advice)


def _balance(evidence: Evidence) -> Iterator[Finding]:
    wrong = list(_imbalances(evidence))
    if wrong:
        whose = "a fault of otel-perfmon or damage to the file: please report it"
        if evidence.altered is not None:
            whose = "what another program has made of them"
        advice = f"Do not rely on the figures; this is {whose}."
        yield Finding("unbalanced", "error", f"The accounts do not balance: {'; '.join(wrong)}.", advice)


def _imbalances(evidence: Evidence) -> Iterator[str]:
    stored = pruned = counted = 0
    for process in evidence.processes or ():
        health, name = process.health, f"process {process.pid}" if process.pid else "processes long gone"
        dropped = sum(health.dropped.values())
        if health.ended != health.counted + dropped + health.queued:
            yield f"of {name} {health.ended} ended, {health.counted} counted, {dropped} dropped, {health.queued} queued"
        if health.counted != health.stored + health.sampled_out:
            yield f"of {name} {health.counted} counted, {health.stored} stored, {health.sampled_out} sampled out"
        stored, counted = stored + health.stored + health.interrupted, counted + health.counted
        pruned += health.pruned
    if evidence.processes is None:
        return
    if evidence.row_count is not None and stored - pruned != evidence.row_count:
        yield f"{stored} stored less {pruned} pruned, and {evidence.row_count} there"
    if evidence.rollup_count is not None and evidence.rollup_count > counted:
        yield f"{counted} counted, and {evidence.rollup_count} in the rollups"


# --- the processes


def _processes(evidence: Evidence) -> Iterator[Finding]:
    for process in evidence.processes or ():
        if process.is_alive and not process.is_closed:
            yield from _of_living(process, evidence.now)
        elif process.is_alive is False and process.health.queued:
            yield _with_queue(process)
        elif process.is_alive is False and not process.is_closed and process.process != _PAST:
            sentence = f"Process {process.pid} died: what ended after its last write is lost, and nobody can count it."
            advice = (
                "By default that is the last 250 ms, at full speed up to 16,384 spans more; durability='root' or 'span'"
                " writes at each end. 'otel-perfmon running' tells what it was doing."
            )
            yield Finding("died", "note", sentence, advice)


def _with_queue(process: ProcessHealth) -> Finding:
    lost = f"{process.health.queued:,} spans were queued, and are lost."
    if process.is_closed:
        sentence = f"Process {process.pid} had closed its account when threads of it went on recording; {lost}"
        advice = "Daemon threads are stopped wherever they are when a program ends: end and join them before."
    else:
        sentence = f"Process {process.pid} is gone without closing its account; {lost}"
        advice = (
            "If its writes failed, mend that; else durability='root' or 'span' writes at each end (see the README)."
        )
    return Finding("died_with_queue", "error", sentence, advice)


def _of_living(process: ProcessHealth, now: float) -> Iterator[Finding]:
    silent, queued = now - process.updated, process.health.queued
    if silent > SILENT_SECONDS:
        sentence = f"Process {process.pid} is alive and has given no sign of life for {silent:,.0f} s."
        advice = (
            "It is stopped, or its writes fail, which its log (logger otel_perfmon) tells; what waits is tried again."
        )
        yield Finding("silent", "error", sentence, advice)
    elif queued and process.oldest_queued and now - process.oldest_queued > LAG_SECONDS:
        lag = now - process.oldest_queued
        sentence = f"Process {process.pid} is behind: {queued:,} spans wait, the oldest for {lag:,.0f} s."
        advice = (
            "The disk or the CPU is too slow for so many spans (sample_rate makes them fewer), or the file is locked."
        )
        yield Finding("lag", "warning", sentence, advice)
    if process.failure_count:
        sentence = f"{process.failure_count:,} writes of process {process.pid} failed, the last with: {process.failure}"
        advice = "What they were to write was tried again; what could not be kept is told as dropped."
        yield Finding("writes_failed", "note", sentence, advice)


# --- what is sent on


def _destinations(evidence: Evidence) -> Iterator[Finding]:
    for each in evidence.destinations or ():
        if each.pruned_count:
            is_over = not each.waiting_count and each.failing_since is None
            sentence = f"{each.pruned_count:,} spans were pruned before their turn to be sent to {each.name}."
            advice = "A longer retention_seconds, or a larger size_max_bytes, keeps them for as long as it is away."
            yield Finding(f"pruned_unsent:{each.name}", "note" if is_over else "error", sentence, advice)
        yield from _of_destination(each, evidence.now)


def _of_destination(each: DestinationHealth, now: float) -> Iterator[Finding]:
    if each.failing_since is not None and now - each.failing_since > _CLOCK_SECONDS:
        away = now - each.failing_since
        sentence = f"{each.name} takes nothing for {away:,.0f} s: it {each.failure}. {each.waiting_count:,} spans wait."
        advice = "They are sent when it is there again, and kept until retention takes them; see 'otel-perfmon info'."
        yield Finding(f"destination_away:{each.name}", "warning", sentence, advice)
    elif each.oldest_waiting is not None and now - each.oldest_waiting > _BEHIND_SECONDS:
        behind = now - each.oldest_waiting
        who = f"process {each.sender_pid} sends too slowly" if each.sender_pid else "nobody sends"
        sentence = f"{each.waiting_count:,} spans wait for {each.name}, the oldest for {behind:,.0f} s: {who}."
        advice = "'otel-perfmon forward --once --to URL' sends them, from any process that can read the file."
        yield Finding(f"destination_behind:{each.name}", "note", sentence, advice)
    if each.parked_count:
        sentence = f"{each.name} would not take {each.parked_count:,} spans, but requests after them; they are parked."
        advice = "The table _parked_spans has its replies; the spans themselves stay in the store as all others."
        yield Finding(f"parked:{each.name}", "warning", sentence, advice)


# --- the surroundings


def _clock(evidence: Evidence) -> Iterator[Finding]:
    now = evidence.now
    ahead = max((evidence.last_end or 0) - now, *(each.updated - now for each in evidence.processes or ()), 0)
    if ahead > _CLOCK_SECONDS:
        sentence = f"Something in the file is {ahead:,.0f} s in the future."
        advice = "A clock was wrong when it was recorded, or is now; windows such as --window 1h do not show it."
        yield Finding("future", "warning", sentence, advice)
    if evidence.backwards_seconds is not None and evidence.backwards_seconds > _CLOCK_SECONDS:
        sentence = f"The clock ran back by {evidence.backwards_seconds:,} s while spans arrived."
        advice = "Durations are right all the same; spans of that time may stand in the wrong window. Slew the clock."
        yield Finding("clock_back", "note", sentence, advice)


def _sqlite(evidence: Evidence) -> Iterator[Finding]:
    for sentence, advice in known_faults(evidence.sqlite_version):
        yield Finding("sqlite_fault", "note", sentence, advice)


_RULES: Final[tuple[Callable[[Evidence], Iterator[Finding]], ...]] = (
    *(_refused, _damaged, _balance, _losses, _processes, _destinations, _free_space, _log, _size),
    *(_network, _permissions, _lock, _moved_aside, _begun_anew, _altered, _not_files, _clock, _schema, _sqlite),
)
