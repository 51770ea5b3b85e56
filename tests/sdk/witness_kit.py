"""What anybody can see of a program's spans: what their readers, processors and samplers are told, and the log.

What differs by nature is the text of a stack trace: the frames of the tracer itself are cut out of it.
"""

from __future__ import annotations

import logging
import re

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, sampling
from opentelemetry.trace import Status, TraceState

TRACER = r"[/\\\\](?:opentelemetry[/\\\\](?:sdk|trace|util)|otel_perfmon[/\\\\]sdk)[/\\\\]|contextlib\.py"
TRACER_FRAME = re.compile(rf'  File "[^"\n]*(?:{TRACER})[^"\n]*", line .*\n(?:    .*\n)*')


class OwnError(Exception):
    """An exception of a program, with a module in its name."""


def context_seen(context):
    if context is None:
        return None
    trace_state = context.trace_state
    return (
        *(context.trace_id, context.span_id, context.is_remote, int(context.trace_flags), context.is_valid),
        *(type(context).__name__, type(context.trace_flags).__name__, type(trace_state).__name__),
        list(trace_state.items()) if trace_state is not None else None,
    )


def attributes_seen(attributes):
    if attributes is None:
        return None
    return [(type(key).__name__, str(key), without_frames(repr(attributes[key]))) for key in attributes]


def without_frames(text):
    if "Traceback" not in text:
        return text
    return TRACER_FRAME.sub("", text.replace("\\n", "\n").replace('\\"', '"'))


def attempt(function, *arguments, **named):
    """What a call gives, or what it raises."""
    try:
        return function(*arguments, **named)
    except (AttributeError, TypeError) as error:  # what Python says of a wrong type tells which line met it
        return ("raised", type(error).__name__)
    except Exception as error:  # whatever the SDK raises, ours must
        return ("raised", type(error).__name__, attempt(str, error))


def span_seen(span):
    """Everything a reader can ask a span."""
    return {
        "name": (type(span.name).__name__, span.name),
        "context": context_seen(span.context),
        "same context": context_seen(span.get_span_context()),
        "parent": context_seen(span.parent),
        "kind": span.kind,
        "status": (type(span.status).__name__, span.status.status_code, span.status.description, span.status.is_ok),
        "times": (span.start_time, span.end_time),
        "attributes": (type(span.attributes).__name__, attributes_seen(span.attributes)),
        "events": [(type(e).__name__, e.name, e.timestamp, attributes_seen(e.attributes)) for e in span.events],
        "events dropped": [event.dropped_attributes for event in span.events],
        "links": [(context_seen(each.context), attributes_seen(each.attributes)) for each in span.links],
        "links dropped": [each.dropped_attributes for each in span.links],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": dict(span.resource.attributes),
        "scope": repr(span.instrumentation_scope),
        "json": without_frames(str(attempt(span.to_json))),
        "records": span.is_recording() if isinstance(span, trace.Span) else None,
        "is": (isinstance(span, trace.Span), isinstance(span, ReadableSpan)),
    }


class Messages(logging.Handler):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def emit(self, record):
        self.seen.append(("log", record.name, record.levelname, record.getMessage()))


class Witness(SpanProcessor):
    """Writes down what a processor sees, and changes spans as far as it may, or may not."""

    def __init__(self, seen, meddler):
        self.seen, self.meddler = seen, meddler

    def on_start(self, span, parent_context=None):
        keys = None if parent_context is None else len(parent_context)
        self.seen.append(("on_start", span_seen(span), keys, here()))
        if self.meddler in {"on_start", "both"}:
            span.set_attribute("started", True)
            span.add_event("started")

    def _on_ending(self, span):
        self.seen.append(("on_ending", span_seen(span), here()))
        if self.meddler in {"on_ending", "both"}:
            span.set_attribute("ending", True)
            span.update_name("ending")
            attempt(span.set_status, Status(trace.StatusCode.OK))

    def on_end(self, span):
        self.seen.append(("on_end", span_seen(span), here()))


class OwnActive(SpanProcessor):
    """An active span processor that is none of the SDK's."""

    def __init__(self):
        self.all = []

    def add_span_processor(self, span_processor):
        self.all.append(span_processor)

    def on_start(self, span, parent_context=None):
        for each in self.all:
            each.on_start(span, parent_context)

    def on_end(self, span):
        for each in self.all:
            each.on_end(span)


class OwnSampler(sampling.Sampler):
    """Decides by the name, adds attributes and trace state, and writes down what it was asked."""

    def __init__(self, seen, raises):
        self.seen, self.raises = seen, raises

    def should_sample(self, parent_context, trace_id, name, *rest):
        kind, attributes, links = rest
        keys = None if parent_context is None else len(parent_context)
        self.seen.append(("asked", keys, trace_id, name, kind, repr(attributes), len(links)))
        if self.raises and name == "drop":
            raise OwnError(name)
        decision = {"drop": sampling.Decision.DROP, "record": sampling.Decision.RECORD_ONLY}.get(
            name, sampling.Decision.RECORD_AND_SAMPLE
        )
        added = (
            {"by": "sampler", **(attributes if isinstance(attributes, dict) else {})} if name == "op" else attributes
        )
        return sampling.SamplingResult(decision, added, TraceState([("sampler", "own")]) if name != "sample" else None)

    def get_description(self):
        return "own"


def here():
    return context_seen(trace.get_current_span().get_span_context())


def sampler_of(name, seen):
    return {
        "default": None,
        "on": sampling.ALWAYS_ON,
        "off": sampling.ALWAYS_OFF,
        "parent off": sampling.ParentBased(
            sampling.ALWAYS_ON, remote_parent_sampled=sampling.ALWAYS_OFF, local_parent_not_sampled=sampling.ALWAYS_ON
        ),
        "ratio": sampling.TraceIdRatioBased(0.5),
        "parent ratio": sampling.ParentBasedTraceIdRatio(0.5),
        "own": OwnSampler(seen, raises=False),
        "always record": sampling.AlwaysRecordSampler(sampling.ParentBasedTraceIdRatio(0.5)),
        "raising": OwnSampler(seen, raises=True),
    }[name]
