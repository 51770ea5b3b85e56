"""What a trace comes to: its root, what it waited for, where its time went, and what failed in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from operator import itemgetter
from typing import Final

from otel_perfmon.outline import Mark, Outline
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import Store

_WAITED_MAX: Final = 6
_OPERATIONS_MAX: Final = 12
_ERRORS_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Waited:
    """A span and how long the trace waited for it and for none of its children."""

    key: str
    name: str
    nano: int
    share: float
    mark: Mark


@dataclass(frozen=True, slots=True)
class Share:
    """What the spans of one name in a service took of their own."""

    name: str
    service: str
    count: int
    self_nano: int
    share: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A span that failed, and what it says."""

    key: str
    name: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The trace at a glance. ``roots`` are all spans without a parent; ``root`` is the place of the longest."""

    root: int
    root_count: int
    orphan_count: int
    error_count: int
    slow_count: int
    running_count: int
    skewed_count: int
    cycle_count: int
    waited: list[Waited]
    shares: list[Share]
    failures: list[Failure]


def summarize(store: Store, outline: Outline) -> Summary:
    """The summary of a trace."""
    tops = [place for place, parent in enumerate(outline.parents) if parent < 0]
    whole = [place for place in tops if not outline.marks[place] & Mark.ORPHAN.value]
    root = max(whole or tops, key=outline.durations_nano.__getitem__)
    error_count = outline.count(Mark.ERROR)
    return Summary(
        root=root,
        root_count=len(tops),
        orphan_count=outline.count(Mark.ORPHAN),
        error_count=error_count,
        slow_count=outline.count(Mark.SLOW),
        running_count=outline.count(Mark.RUNNING),
        skewed_count=outline.count(Mark.SKEWED),
        cycle_count=outline.count(Mark.IN_CYCLE),
        waited=_waited(outline),
        shares=_shares(outline),
        failures=_failures(store, outline) if error_count else [],
    )


def key_of(outline: Outline, place: int) -> str:
    """How an address names a span: its id; the second and third of one id have .2 and .3 behind it."""
    span_id = outline.span_ids[place]
    number = 1 + sum(each == span_id for each in outline.span_ids[:place])
    return span_id if number == 1 else f"{span_id}.{number}"


def keys_of(outline: Outline) -> list[str]:
    """The same of every span."""
    counts: Counter[str] = Counter()
    keys = []
    for span_id in outline.span_ids:
        counts[span_id] += 1
        keys.append(span_id if counts[span_id] == 1 else f"{span_id}.{counts[span_id]}")
    return keys


def place_of(outline: Outline, key: str) -> int | None:
    """The place of the span that an address names so; None if there is none."""
    span_id, _, number = key.partition(".")
    return outline.find(span_id.lower(), int(number) if number.isdecimal() and len(number) < 7 else 1)  # noqa: PLR2004


def critical_nano(outline: Outline) -> dict[int, int]:
    """For each place on the critical path, how long it determined it."""
    nano: dict[int, int] = defaultdict(int)
    path = iter(outline.critical_path)
    for place, start, end in zip(path, path, path, strict=True):
        nano[place] += end - start
    return nano


def _waited(outline: Outline) -> list[Waited]:
    times = Counter(critical_nano(outline)).most_common(_WAITED_MAX)
    whole = outline.duration_nano or 1
    return [
        Waited(
            key_of(outline, place),
            outline.names[outline.name_indexes[place]],
            nano,
            nano / whole,
            Mark(outline.marks[place]),
        )
        for place, nano in times
    ]


def _shares(outline: Outline) -> list[Share]:
    keys = list(zip(outline.name_indexes, outline.service_indexes, strict=True))
    counts, nano = Counter(keys), dict.fromkeys(keys, 0)
    for key, own in zip(keys, outline.selfs_nano, strict=True):
        nano[key] += own
    whole = sum(nano.values()) or 1
    most = nlargest(_OPERATIONS_MAX, nano.items(), key=itemgetter(1))
    return [
        Share(outline.names[name], outline.services[service], counts[name, service], own, own / whole)
        for (name, service), own in most
    ]


def _failures(store: Store, outline: Outline) -> list[Failure]:
    failed = (place for place, marks in enumerate(outline.marks) if marks & Mark.ERROR.value)
    span_ids = {outline.span_ids[place] for place in islice(failed, _ERRORS_MAX)}
    found = [span for span in store.find_trace_spans(outline.trace_id, span_ids) if span.is_error]
    return [
        Failure(span.span_id, span.name, span.error_type or "", error_message(span)) for span in found[:_ERRORS_MAX]
    ]


def error_message(span: SpanRecord) -> str:
    """What the error says: the exception's message, else the status's."""
    exception = span.exception.attributes if span.exception else {}
    return str(exception.get("exception.message") or span.status_message)
