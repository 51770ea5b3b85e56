"""Running: what is open now, in every process, and what was when a process died."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_perfmon.quantities import counted
from otel_perfmon.query import SpanQuery
from otel_perfmon.records import OpenSpanRecord, SpanPage, SpanRecord
from otel_perfmon.web.pages.filters import as_id
from otel_perfmon.web.pages.page import Asked, Page
from otel_perfmon.web.pages.stack import Stack

ROWS_MAX: Final = 300
"""More rows than that nobody reads: the longest open stand first."""
_INTERRUPTED_MAX: Final = 100
_MARK: Final = "perfmon.interrupted"
_ATTRIBUTES_MAX: Final = 12
_DEPTH_MAX: Final = 12
"""Deeper ones are indented no further."""
_STEPS_SECONDS: Final = (
    *(2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800),
    *(hours * 3_600 for hours in (1, 2, 5, 12, 24, 48, 120, 240, 720, 2_400, 9_000)),
)
"""The bars end at the first of these that is longer than all of them, so that the longest still grows."""


@dataclass(frozen=True, slots=True)
class Row:
    """An open span, how deep it stands in what is open around it, and the one of another process that called it."""

    record: OpenSpanRecord
    depth: int
    caller: OpenSpanRecord | None

    @property
    def id(self) -> str:
        """What an element is known by."""
        return f"{self.record.span.trace_id}-{self.record.span.span_id}"

    @property
    def attributes(self) -> list[tuple[str, Any]]:
        """The first of them, those of our own left out."""
        ours = ("perfmon.", "thread.")
        told = [pair for pair in self.record.span.attributes.items() if not pair[0].startswith(ours)]
        return told[:_ATTRIBUTES_MAX]

    @property
    def stack(self) -> Stack | None:
        """Where it was when it became slow, if anybody looked."""
        return Stack.of(self.record.stack_trace)


@dataclass(slots=True)
class Group:
    """What is open in one process of one service, each under what called it.

    ``last_seen_unix_nano`` is when one that is gone last looked at what it had open; 0 for one that runs.
    """

    pid: int
    service: str
    last_seen_unix_nano: int
    rows: list[Row] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What an element is known by."""
        return f"process-{self.pid}-{as_id(self.service)}-{self.last_seen_unix_nano}"


def group(records: Iterable[OpenSpanRecord], others: Iterable[OpenSpanRecord]) -> list[Group]:
    """The records, longest open first, by process and service; ``others`` are all among which a caller may be."""
    by_key = {_key(each): each for each in others}
    parts: dict[tuple[int, str, int], list[OpenSpanRecord]] = {}
    for record in records:
        last_seen = record.span.end_unix_nano if record.is_interrupted else 0
        parts.setdefault((record.pid, record.span.service, last_seen), []).append(record)
    return [Group(*key, _as_tree(part, by_key)) for key, part in parts.items()]


def _as_tree(records: Sequence[OpenSpanRecord], by_key: Mapping[tuple[str, str | None], OpenSpanRecord]) -> list[Row]:
    """Each record under its parent; one whose parent is not among them, or is below itself, stands at the edge."""
    keys = {_key(each) for each in records}
    children: dict[tuple[str, str | None], list[OpenSpanRecord]] = {}
    roots: list[OpenSpanRecord] = []
    for record in records:
        key = _parent_key(record)
        (children.setdefault(key, []) if key in keys else roots).append(record)
    rows: list[Row] = []
    done: set[tuple[str, str | None]] = set()
    for root in [*roots, *records]:  # a ring of parents has no root: it begins with its oldest
        waiting = [(root, 0)]
        while waiting:
            record, depth = waiting.pop()
            if _key(record) not in done:
                done.add(_key(record))
                rows.append(Row(record, min(depth, _DEPTH_MAX), None if depth else by_key.get(_parent_key(record))))
                waiting += [(child, depth + 1) for child in reversed(children.get(_key(record), []))]
    return rows


def _key(record: OpenSpanRecord) -> tuple[str, str | None]:
    return record.span.trace_id, record.span.span_id


def _parent_key(record: OpenSpanRecord) -> tuple[str, str | None]:
    return record.span.trace_id, record.span.parent_span_id


def scale_ms(longest_ms: float) -> float:
    """How long the time is that a whole bar stands for."""
    return 1_000.0 * next((each for each in _STEPS_SECONDS if each * 1_000 > longest_ms), longest_ms / 1_000 + 1)


def _answer(asked: Asked) -> Mapping[str, Any]:
    service = asked.get("service")
    found = asked.store.find_open_spans()
    wanted = [each for each in found if service in (None, each.span.service)]
    running = [each for each in wanted if not each.is_interrupted]
    interrupted = [each for each in wanted if each.is_interrupted]
    groups = group(running[:ROWS_MAX], found)
    longest_ms = max((each.span.duration_ms for each in running), default=0.0)
    return {
        "groups": groups,
        "died": group(interrupted[:ROWS_MAX], found),
        "running_count": len(running),
        "interrupted_count": len(interrupted),
        "told": _told(running),
        "rows_max": ROWS_MAX,
        "scale_ms": scale_ms(longest_ms),
        "steps_ms": " ".join(str(each * 1_000) for each in _STEPS_SECONDS),
        "stored_interrupted_count": asked.store.get_health().interrupted,
    }


def _answer_interrupted(asked: Asked) -> Mapping[str, Any]:
    query = SpanQuery(service=asked.get("service"), attributes={_MARK: True}, limit=_INTERRUPTED_MAX)
    has_any = (
        asked.store.get_health().interrupted > 0
    )  # else a search without an index would go through the newest for it
    found = asked.store.find_spans(query) if has_any else SpanPage(())
    records = [
        OpenSpanRecord(span, "interrupted", _pid_of(span), 0, "")
        for span in sorted(found, key=lambda span: (-span.end_unix_nano, span.start_unix_nano))
    ]
    return {"died": group(records, records), "page_of_spans": found}


def _pid_of(span: SpanRecord) -> int:
    """The number of the process that made it, 0 where it does not say so."""
    pid = span.resource.attributes.get("process.pid")
    return pid if isinstance(pid, int) else 0


def _told(running: Sequence[OpenSpanRecord]) -> str:
    """How much runs, in a line."""
    if not running:
        return ""
    processes = len({each.pid for each in running})
    text = f"{counted(len(running), 'span')} in {processes} process{'es' if processes > 1 else ''}"
    slow = sum(each.span.is_slow for each in running)
    return f"{text}, {slow:,} slow" if slow else text


PAGES: Final = (
    Page("/running", "running.html", _answer, heading="Running"),
    Page("/running/interrupted", "interrupted.html", _answer_interrupted),
)
