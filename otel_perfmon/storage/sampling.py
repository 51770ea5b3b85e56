"""Which spans are stored when not all of them are to be: whole local traces, and those that matter for certain.

A local trace is what runs in this process under a span without a local parent, its root. It is sampled by its trace id
(the last 56 bits against the rate, so that all processes agree: opentelemetry-specification, trace/tracestate-
probability-sampling), or else held here until its root ends, and kept whole as soon as any of it is slow or failed.
Whatever happens to a span here, it was counted before: statistics know nothing of sampling.

What is held is bounded. Spans beyond that are sampled out with their trace, and stay so if it is kept after all, which
is told as ``not_held``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import repeat
from operator import itemgetter
from typing import Final

from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.generations import Generations
from otel_perfmon.storage.loss import NOT_HELD, Losses
from otel_perfmon.storage.rows import STATUS_ERROR, SpanRow

HELD_PER_TRACE_MAX: Final = 128
HELD_MAX: Final = 10_000
HELD_TEXT_MAX: Final = 16 * 1024 * 1024
"""Characters of attributes, events and links in all that is held."""
TRACES_MAX: Final = 10_000
_RANDOM_BYTES: Final = 7
_randomness_of = itemgetter(slice(-_RANDOM_BYTES, None))


@dataclass(frozen=True, slots=True)
class SamplingPolicy:
    """The share of local traces to store, 0 to 1, and other shares for those whose root is a certain operation."""

    rate: float = 1.0
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_sampling(self) -> bool:
        """Whether anything is left out."""
        return min(self.rate, *self.rates.values(), 1.0) < 1


class Verdict(Enum):
    """What becomes of a span now; only one that is not `STORED` may be counted apart."""

    STORED = auto()
    HELD = auto()
    SAMPLED_OUT = auto()


_STORED, _HELD, _SAMPLED_OUT = Verdict  # a member of an enum is found by a call


class SamplingChoice:
    """The policy that holds, None until somebody says; any thread may set it."""

    policy: SamplingPolicy | None = None


class _LocalTrace:
    """What is known of a trace whose root has not ended yet."""

    __slots__ = ("not_held", "rows", "trace_id")

    def __init__(self, trace_id: bytes) -> None:
        self.trace_id = trace_id
        self.rows: list[tuple[SpanRow, int]] = []
        self.not_held = 0


class TailSampling:
    """Feed it each span once, in the order of their ends; not thread-safe."""

    def __init__(self, policy: SamplingPolicy, losses: Losses) -> None:
        self._losses = losses
        # Ordered: to look for the first one that holds spans took 60 µs a trace when 10,000 spans were held (now 17).
        self._traces: OrderedDict[bytes, _LocalTrace] = OrderedDict()
        self._holding: OrderedDict[bytes, _LocalTrace] = OrderedDict()
        self._kept_traces: Generations[bytes, bool] = Generations(TRACES_MAX)
        self._held_count = self._text_size = 0
        self._kept: list[SpanRow] = []
        self.follow(policy)

    def follow(self, policy: SamplingPolicy) -> None:
        """Judge by ``policy`` from now on, what is held as well."""
        self.policy = policy
        self._bound = _bound_of(policy.rate)
        self._bounds = {name: _bound_of(rate) for name, rate in policy.rates.items()}
        bounds = (self._bound, *self._bounds.values())
        self._certain, self._never = max(bounds), min(bounds)
        for trace_id in [each for each in self._traces if _randomness_of(each) >= self._certain]:
            self._keep(trace_id)

    def judge(self, spans: SpanColumns, verdicts: list[Verdict]) -> None:
        """Add to ``verdicts`` those of the spans that it has none of yet."""
        trace_ids, _, parents, are_remote, names, _, _, _, _, _, _, _, statuses, are_slow, _, _ = spans.columns
        known_traces = self._traces or self._kept_traces
        is_quiet = not (any(parents) or any(are_slow) or STATUS_ERROR in statuses or known_traces)
        if is_quiet and not verdicts and max(map(_randomness_of, trace_ids), default=b"") < self._never:
            verdicts += repeat(_SAMPLED_OUT, len(spans))
            return
        randoms = list(map(_randomness_of, trace_ids))
        for number in range(len(verdicts), len(spans)):
            trace_id = trace_ids[number]
            if (
                not (parents[number] and not are_remote[number])
                and not are_slow[number]
                and statuses[number] != STATUS_ERROR
                and randoms[number] < self._bounds.get(names[number], self._bound)
                and trace_id not in self._traces
                and not self._kept_traces.get(trace_id)
            ):
                verdicts.append(_SAMPLED_OUT)
            else:
                verdicts.append(self._sift(spans[number]))

    def take_kept(self) -> list[SpanRow]:
        """What was held and is stored after all, since the last time."""
        taken, self._kept = self._kept, []
        return taken

    def give_up(self) -> None:
        """Sample out everything held: the end of the process has come before that of the roots."""
        for trace_id in list(self._traces):
            self._let_go(trace_id)

    @property
    def held_count(self) -> int:
        """How many spans are held."""
        return self._held_count

    def _sift(self, row: SpanRow) -> Verdict:
        trace_id = row.trace_id
        randomness = _randomness_of(trace_id)
        if randomness >= self._certain:
            return _STORED
        if row.is_slow or row.status_code == STATUS_ERROR or self._kept_traces.get(trace_id):
            return self._keep(trace_id)
        if row.parent_span_id and not row.is_parent_remote:
            self._hold(trace_id, self._traces.get(trace_id), row)
            return _HELD
        if randomness >= self._bounds.get(row.name, self._bound):
            return self._keep(trace_id)
        if trace_id in self._traces:
            self._sample_out(trace_id, row)
        return _SAMPLED_OUT

    def _keep(self, trace_id: bytes) -> Verdict:
        """Keep the whole trace so far, and what is still to come of it."""
        self._kept_traces.set(trace_id, value=True)
        trace = self._traces.pop(trace_id, None)
        if trace is not None:
            self._kept += self._release(trace)
            if trace.not_held:
                why = f"{trace.not_held} spans of a trace that is kept did not fit into what sampling may hold"
                self._losses.add(NOT_HELD, trace.not_held, why)
        return _STORED

    def _hold(self, trace_id: bytes, trace: _LocalTrace | None, row: SpanRow) -> None:
        text_size = row.text_size
        if trace is None:
            if len(self._traces) >= TRACES_MAX:
                self._let_go(next(iter(self._traces)))
            trace = self._traces[trace_id] = _LocalTrace(trace_id)
        if len(trace.rows) >= HELD_PER_TRACE_MAX or not self._has_room_beside(trace, text_size):
            trace.not_held += 1
            return
        self._add(trace, [(row, text_size)])

    def _has_room_beside(self, trace: _LocalTrace, text_size: int) -> bool:
        """Make room by no longer holding what has been held for longest."""
        while self._held_count >= HELD_MAX or self._text_size + text_size > HELD_TEXT_MAX:
            oldest = next(iter(self._holding.values()), trace)
            if oldest is trace:
                return False
            oldest.not_held += len(oldest.rows)
            self._release(oldest)
        return True

    def _add(self, trace: _LocalTrace, entries: list[tuple[SpanRow, int]]) -> None:
        self._holding[trace.trace_id] = trace
        trace.rows += entries
        self._held_count += len(entries)
        self._text_size += sum(size for _, size in entries)

    def _release(self, trace: _LocalTrace) -> list[SpanRow]:
        """The spans of a trace, which are no longer held."""
        self._holding.pop(trace.trace_id, None)
        self._held_count -= len(trace.rows)
        self._text_size -= sum(size for _, size in trace.rows)
        rows, trace.rows = [row for row, _ in trace.rows], []
        return rows

    def _let_go(self, trace_id: bytes) -> None:
        """Forget a trace, and so sample it out."""
        self._release(self._traces.pop(trace_id))

    def _sample_out(self, trace_id: bytes, root: SpanRow) -> None:
        """Sample out what ran under ``root``; another local root of the same trace may still be running.

        Of a trace with spans that are not held nobody can tell what ran under which root: all of it goes.
        """
        trace = self._traces[trace_id]
        others = [] if trace.not_held else _not_below(root, trace.rows)
        self._let_go(trace_id)
        if others:
            trace = self._traces[trace_id] = _LocalTrace(trace_id)
            self._add(trace, others)


def _not_below(root: SpanRow, entries: list[tuple[SpanRow, int]]) -> list[tuple[SpanRow, int]]:
    """Those of the spans of a trace that did not run under ``root``."""
    children: dict[bytes, list[tuple[SpanRow, int]]] = {}
    for entry in entries:
        children.setdefault(entry[0].parent_span_id, []).append(entry)
    below = children.pop(root.span_id, [])
    for row, _ in below:  # grows while it is walked
        below += children.pop(row.span_id, ())
    return [entry for entry in entries if entry[0].parent_span_id in children]


def _bound_of(rate: float) -> bytes:
    """The least of the last 56 bits of a trace id that is sampled at that rate; none reaches that of 0."""
    least = round((1 - rate) * 2**56)
    return least.to_bytes(_RANDOM_BYTES, "big") if least < 2**56 else b"\xff" * (_RANDOM_BYTES + 1)


def is_sampled(trace_id: bytes, rate: float) -> bool:
    """Whether a trace is among those that are sampled at that rate, as every process sees it."""
    return trace_id[-_RANDOM_BYTES:] >= _bound_of(rate)
