"""A store that is forwarded step by step, by a clock that stands still unless it is told to wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from destination_kit import ScriptedDestination
from otlp_kit import RowDoor

from otel_perfmon import MetricsStorage
from otel_perfmon.otlp.backoff import Backoff
from otel_perfmon.otlp.destination import parse_destination
from otel_perfmon.otlp.forwarder import Forwarder, State, Step
from otel_perfmon.otlp.senders import open_sender
from otel_perfmon.storage.rows import SpanRow
from otel_perfmon.storage.sqlite.outbox import SqliteOutbox


class Clock:
    """Time that passes only when it is waited."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(path: str, rows: Iterable[SpanRow]) -> None:
    """Store rows."""
    with MetricsStorage(path) as storage:
        door = RowDoor()
        for row in rows:
            storage.recorder.record(door, row)


@dataclass
class Drive:
    """What happened while a forwarder was driven: how often it waited for how long."""

    forwarder: Forwarder
    clock: Clock
    pauses: list[float] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def step(self) -> Step:
        step = self.forwarder.step()
        self.steps.append(step)
        if step.state is not State.IDLE and step.pause_seconds:
            self.pauses.append(step.pause_seconds)
        self.clock.now += step.pause_seconds
        return step

    def until(self, *states: State, steps_max: int = 300) -> Step:
        for _ in range(steps_max):
            if (step := self.step()).state in states:
                return step
        raise AssertionError(self.steps[-5:])

    def until_idle(self, steps_max: int = 300) -> Drive:
        self.until(State.IDLE, steps_max=steps_max)
        return self


def drive(path: str, destination: ScriptedDestination | str, *, rng: float = 0.5, **options: Any) -> Drive:
    """A forwarder whose pauses are neither shortened nor lengthened by chance, with ``rng`` 0.5."""
    url = destination if isinstance(destination, str) else destination.url
    policy, since, now = options.pop("policy", None), options.pop("since_unix_s", None), options.pop("now", 1e9)
    spans_max = options.pop("spans_max", 512)
    parsed = parse_destination(url, **{"timeout_seconds": 2.0, **options})
    clock = Clock(now)
    outbox = SqliteOutbox(path, parsed.name, policy, since_unix_s=since, now=clock)
    is_json = parsed.protocol == "http/json"
    backoff = Backoff(rng=lambda: rng)
    forwarder = Forwarder(
        outbox, open_sender(parsed), is_json=is_json, backoff=backoff, clock=clock, spans_max=spans_max
    )
    _opened.append(forwarder)
    return Drive(forwarder, clock)


_opened: list[Forwarder] = []


def release_all() -> None:
    """Close what the tests have opened."""
    while _opened:
        _opened.pop().release()


def ask(path: str, sql: str) -> Any:
    """One row of the file, by no code of ours."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()


def counts(path: str) -> dict[str, int]:
    """The account of the one destination."""
    names = ("sent", "refused", "parked", "left_out", "pruned")
    found = ask(path, f"SELECT {', '.join(f'sum({name}_count)' for name in names)} FROM destinations")
    return {name: count for name, count in zip(names, found, strict=True) if count}
