"""Runs a program of spans on a tracer provider, and writes down everything that anybody can see of it.

The clock goes by steps of the program and not by how often it is read; ids are counted.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanLimits,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, TraceFlags, TraceState
from program_kit import Block, Call, Program, Start, Within
from witness_kit import (
    Messages,
    OwnActive,
    OwnError,
    Witness,
    attempt,
    context_seen,
    here,
    sampler_of,
    span_seen,
    without_frames,
)

from otel_perfmon.sdk.processor import StoreSpanProcessor

EPOCH_NANO = 1_790_000_000_000_000_000
MARK = otel_context.create_key("mark")


class SilentError(Exception):
    def __str__(self):
        raise ValueError


class Ids(IdGenerator):
    """Ids that tell their step: how many are asked for when a span cannot be made is nobody's business."""

    def __init__(self, clock):
        self.clock = clock
        self.last = 0

    def generate_span_id(self):
        self.last = max(self.last + 1, self.clock.now - EPOCH_NANO)
        return self.last

    def generate_trace_id(self):
        return (self.clock.now - EPOCH_NANO) * 2**50 + 1

    def is_trace_id_random(self):
        return self.clock.now // 1000 % 2 == 0


class PairMapping(Mapping):
    def __init__(self, pairs):
        self.pairs = dict(pairs)

    def __getitem__(self, key):
        return self.pairs[key]

    def __iter__(self):
        return iter(self.pairs)

    def __len__(self):
        return len(self.pairs)

    def __repr__(self):
        return repr(self.pairs)


class Clock:
    """Time that stands still within a step; puts itself in the place of every `time_ns` that was imported by name."""

    def __init__(self, monkeypatch):
        self.now = EPOCH_NANO
        real = time.time_ns
        for name, module in list(sys.modules.items()):
            if name.startswith(("opentelemetry.sdk.trace", "otel_perfmon.sdk")) and vars(module).get("time_ns") is real:
                monkeypatch.setattr(module, "time_ns", self)

    def __call__(self):
        return self.now


class Run:
    """One run of a program; ``seen`` is what came to light, in its order. A ``store`` gets the spans before others."""

    def __init__(
        self,
        provider_class: type[TracerProvider],
        program: Program,
        clock: Clock,
        store: StoreSpanProcessor | None = None,
    ) -> None:
        self.seen: list[Any] = []
        self.spans: list[trace.Span] = []
        self.clock = clock
        clock.now = EPOCH_NANO
        active = {
            "synchronous": SynchronousMultiSpanProcessor,
            "concurrent": lambda: ConcurrentMultiSpanProcessor(1),
            "own": OwnActive,
            "none": SynchronousMultiSpanProcessor,
        }[program.processors]()
        provider = provider_class(
            sampler=sampler_of(program.sampler, self.seen),
            resource=Resource({"service.name": "program"}),
            shutdown_on_exit=False,
            active_span_processor=active,
            id_generator=Ids(clock),
            span_limits=SpanLimits(**program.limits),
        )
        if store is not None:
            provider.add_span_processor(store)
        memory = InMemorySpanExporter()
        if program.processors != "none":
            provider.add_span_processor(Witness(self.seen, program.meddler))
            provider.add_span_processor(SimpleSpanProcessor(memory))
        self.tracer = provider.get_tracer("program", "1.0", "https://schema", {"scope": "attribute"})
        messages, logger = Messages(self.seen), logging.getLogger("opentelemetry")
        logger.addHandler(messages)
        try:
            self.do_all(program.body)
        finally:
            logger.removeHandler(messages)
            if store is not None:
                store.force_flush()  # before the spans are read, which makes all their parts
            provider.shutdown()
        self.seen += [("exported", span_seen(span)) for span in memory.get_finished_spans()]
        self.seen += [("left", span_seen(span)) for span in self.spans if isinstance(span, ReadableSpan)]

    def do_all(self, steps):
        for step in steps:
            self.clock.now += 1000
            {Start: self.start, Block: self.block, Within: self.within, Call: self.call}[type(step)](step)
            self.seen.append(("current", here()))

    def note(self, what, value):
        is_plain = isinstance(value, (tuple, str, bool, int, type(None)))
        self.seen.append((what, value if is_plain else type(value).__name__.lstrip("_")))

    def start(self, start):
        arguments = self.arguments(start)
        span = attempt(lambda: self.tracer.start_span(**arguments))
        self.after_start(arguments, span)
        self.note("start_span", span)

    def after_start(self, arguments, span):
        if isinstance(span, trace.Span):
            self.spans.append(span)
            self.seen.append(("started", context_seen(span.get_span_context()), span.is_recording()))
        for given in (arguments["attributes"], arguments["links"]):  # what was given is the caller's again
            if isinstance(given, dict):
                given["late"] = "late"
            elif isinstance(given, list) and given:
                given.pop()

    def arguments(self, start):
        arguments = start._asdict()
        arguments["attributes"] = attributes_of(start.attributes)
        arguments["links"] = None if start.links is None else [self.link(each) for each in start.links]
        arguments["context"] = self.context(start.context)
        return arguments

    def block(self, block):
        arguments = self.arguments(block.start)
        error = error_of(block.error)

        def body():
            self.after_start(arguments, trace.get_current_span())
            self.do_all(block.body)
            if error is not None:
                raise error
            return "result"

        async def coroutine():
            await asyncio.sleep(0)
            return body()

        def go():
            current = self.tracer.start_as_current_span(end_on_exit=block.end_on_exit, **arguments)
            if block.form in {"function", "twice"}:
                traced = current(body)
                results = [traced()]
                if block.form == "twice":
                    self.clock.now += 1000
                    results.append(traced())
                return results
            if block.form == "coroutine":
                return drive(current(coroutine)())
            with current as span:
                self.note("entered", span)
                self.note("is current", span is trace.get_current_span())
                return body()

        self.note_end(block.form, error, go)

    def within(self, within):
        error = error_of(within.error)
        if not self.spans and within.form != "thread":
            return
        span = self.spans[within.span % len(self.spans)] if self.spans else None

        def body():
            self.do_all(within.body)
            if error is not None:
                raise error

        def go():
            if within.form == "thread":
                caught = []
                thread = threading.Thread(target=lambda: caught.append(outcome(body)))
                thread.start()
                thread.join()
                return repr(caught[0])
            ends, records, sets_status = within.flags
            with (
                span
                if within.form == "with span"
                else trace.use_span(
                    span, end_on_exit=ends, record_exception=records, set_status_on_exception=sets_status
                )
            ):
                return body()

        self.note_end(within.form, error, go)

    def note_end(self, form, error, go):
        result, raised = outcome(go)
        self.seen.append((form, result if isinstance(result, str) else repr(result), type(raised).__name__))
        is_misuse = isinstance(raised, (AttributeError, TypeError))
        self.seen.append(("the program's own", raised is error, None if is_misuse else attempt(str, raised)))
        if raised is not None:
            self.seen.append(("chained", type(raised.__context__).__name__, type(raised.__cause__).__name__))

    def call(self, call):
        if not self.spans:
            return
        span = self.spans[call.span % len(self.spans)]
        if call.method == "to_json" and not isinstance(span, ReadableSpan):
            return
        arguments = [self.argument(each) for each in call.arguments]
        named = {name: self.argument(each) for name, each in (call.named or {}).items()}
        if call.method == "add_link":
            link = arguments[0]
            arguments = [None] if link is None else [link.context, link.attributes]
        result = attempt(lambda: getattr(span, call.method)(*arguments, **named))
        if call.method == "get_span_context":
            result = context_seen(result)
        elif isinstance(result, str):
            result = without_frames(result).replace("_Span(", "Span(")
        self.note(call.method, result)
        for given in arguments:
            if isinstance(given, dict):
                given["late"] = "late"
            elif isinstance(given, list):
                given.append("late")

    def argument(self, value):
        if isinstance(value, tuple) and value and type(value[0]) is str:
            if value[0] == "Status":
                return Status(*value[1:])
            if value[0] == "error":
                return outcome(raising(error_of(value[1])))[1]
            if value[0] == "link":
                return self.link(value[1])
        return attributes_of(value)

    def link(self, link):
        if link is None:
            return None
        attributes = attributes_of(link[-1])
        if link[0] == "span":
            span = self.spans[link[1] % len(self.spans)] if self.spans else trace.INVALID_SPAN
            return Link(span.get_span_context(), attributes)
        context = {
            "remote": remote_context(True, 3, False),
            "invalid": trace.INVALID_SPAN_CONTEXT,
            "with trace state": SpanContext(0, 0, True, trace_state=TraceState([("a", "b")])),
            "none": None,
        }[link[0]]
        return Link(context, attributes)

    def context(self, context):
        if context is None:
            return None
        if context[0] == "remote":
            return trace.set_span_in_context(NonRecordingSpan(remote_context(context[2], context[1], context[3])))
        if context[0] == "span":
            if not self.spans:
                return None
            return trace.set_span_in_context(self.spans[context[1] % len(self.spans)])
        return {
            "empty": otel_context.Context(),
            "current": otel_context.get_current(),
            "not a span": otel_context.set_value(trace.propagation._SPAN_KEY, "no span"),
            "other values": otel_context.set_value(MARK, 1),
            "invalid": trace.set_span_in_context(trace.INVALID_SPAN),
            "no context": trace.set_span_in_context(NonRecordingSpan(None)),
        }[context[0]]


def remote_context(is_remote, flags, has_state):
    state = TraceState([("vendor", "x")]) if has_state else None
    return SpanContext(0xABC << 64 | 0xDEF, 0x123, is_remote, TraceFlags(flags), state)


def attributes_of(attributes):
    """A copy that the program may change; a mapping that is no dict."""
    if isinstance(attributes, tuple) and len(attributes) == 2 and attributes[0] == "mapping":
        return PairMapping(attributes[1])
    return attributes.copy() if isinstance(attributes, (dict, list)) else attributes


def outcome(function):
    """What a function gives, and what it raises: also what is no `Exception`."""
    try:
        return function(), None
    except BaseException as error:  # a program may be interrupted
        return None, error


def drive(coroutine):
    """Run a coroutine without a loop, which may run inside another one."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def raising(error):
    def go():
        raise error

    return go


def error_of(name):
    if name is None:
        return None
    if name == "chained":
        error = OwnError("outer")
        error.__cause__ = KeyError("inner")
        return error
    kinds = {"Own": OwnError, "Silent": SilentError, "CancelledError": asyncio.CancelledError}
    kind = kinds.get(name) or getattr(__builtins__, name, None) or __builtins__[name]
    return kind("why")
