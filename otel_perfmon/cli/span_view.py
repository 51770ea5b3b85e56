"""How spans are shown: as rows of a table, each in a line of its own, or with everything they carry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from otel_perfmon.cli.escaping import escape, isolate, shown
from otel_perfmon.cli.report import ABSENT, NO_NAME, Column, cropped, duration, isolated, name_text, printable, separate
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import ago, clock, stamp
from otel_perfmon.quantities import count
from otel_perfmon.records import STACK_EVENT, SpanRecord
from otel_perfmon.storage.base import Store

_PREFIX_LENGTHS: Final = (12, 16, 20, 24)
_LINE_ID_LENGTH: Final = 16
_LINE_NAME_SHARE: Final = 0.25
_LINE_NAME_MIN: Final = 16
_LINE_ATTRIBUTES_MAX: Final = 8
_ATTRIBUTE_CHARACTERS_MAX: Final = 300
_DURATION_WIDTH: Final = 8
_MARGIN: Final = "  "


def short_trace_id(store: Store, trace_id: str) -> str:
    """The shortest beginning, of 12 digits or more, by which ``trace`` finds it."""
    for length in _PREFIX_LENGTHS:
        if len(store.find_trace_ids(trace_id[:length], limit=2)) <= 1:
            return trace_id[:length]
    return trace_id


def remark(span: SpanRecord, *, is_slow_told: bool = True) -> Text:
    """What is wrong with it: ``! TimeoutError`` in red, ``~ slow`` and ``x interrupted`` in yellow, or nothing."""
    text = Text()
    if span.is_error:
        text.append("! ", "bold red").append(shown(span.error_type or "error"), "red")
    if span.is_slow and is_slow_told:
        text.append(" ~ slow" if span.is_error else "~ slow", "yellow")
    if span.is_interrupted:
        text.append(" x interrupted" if text.plain else "x interrupted", "yellow")
    return text


def attribute_text(value: Any) -> Text:
    """An attribute's value: text as it is, everything else as JSON by the store's rules."""
    return printable(value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False))


def span_columns(
    store: Store, attributes: Sequence[str] = (), *, is_slow_told: bool = True
) -> list[Column[SpanRecord]]:
    """What tells spans apart, and the values of some of their attributes."""
    now = time.time_ns()
    return [
        Column("Ended", lambda span: Text(stamp(span.end_unix_nano, now))),
        Column("Operation", lambda span: name_text(span.name), is_text=True),
        Column("Took", lambda span: Text(duration(span.duration_ms), "yellow" if span.is_slow else "")),
        Column("Remark", lambda span: remark(span, is_slow_told=is_slow_told), rank=3, is_text=True),
        *(_attribute_column(key) for key in attributes),
        Column("Service", lambda span: printable(span.service), rank=4, is_text=True),
        Column("Trace", lambda span: Text(short_trace_id(store, span.trace_id)), rank=2),
    ]


def _attribute_column(key: str) -> Column[SpanRecord]:
    def cell(span: SpanRecord) -> Text:
        return attribute_text(span.attributes[key]) if key in span.attributes else Text(ABSENT, "dim")

    return Column(shown(key), cell, rank=1, is_text=True)


def span_line(span: SpanRecord, width: int) -> Text:
    """One span in one line of at most ``width``: when, how long, what, what is wrong, its attributes, which trace."""
    name_width = max(_LINE_NAME_MIN, int(width * _LINE_NAME_SHARE))
    line = Text(clock(span.end_unix_nano, is_dated=False, digits=3), no_wrap=True)
    line.append(f"  {duration(span.duration_ms):>{_DURATION_WIDTH}}  ", "yellow" if span.is_slow else "")
    line.append_text(cropped(name_text(span.name), name_width, is_padded=True)).append("  ")
    wrong, message = remark(span), error_message(span)
    line.append(wrong).append(f": {shown(message)}" if message else "").append("  " if wrong.plain else "")
    line.append("  ".join(f"{shown(key)}={attribute_text(value)}" for key, value in _foremost(span)), "dim")
    line = cropped(line, width - _LINE_ID_LENGTH - 2, is_padded=True)
    return line.append(f"  {span.trace_id[:_LINE_ID_LENGTH]}", "dim")


def _foremost(span: SpanRecord) -> Iterator[tuple[str, Any]]:
    """What a line may have room for: the service and the first attributes."""
    if span.service:
        yield "service", span.service
    yield from islice(span.attributes.items(), _LINE_ATTRIBUTES_MAX)


def error_message(span: SpanRecord) -> str:
    """What the error says: the exception's message, else the status's."""
    exception = span.exception.attributes if span.is_error and span.exception else {}
    return str(exception.get("exception.message") or span.status_message)


def error_headline(span: SpanRecord) -> str:
    """Type and message of what failed, ``TimeoutError: no answer``, with what the status says beyond it in brackets."""
    event = span.exception.attributes if span.exception else {}
    kind, message = str(event.get("exception.type") or span.error_type or ""), error_message(span)
    is_typed = not kind or message == kind or message.startswith(f"{kind}:")
    headline = message if is_typed else f"{kind}: {message}" if message else kind
    status = span.status_message
    is_new = status and status not in headline and headline not in status
    return f"{headline} ({status})" if is_new else headline or "failed, and does not say why"


def stack_trace(span: SpanRecord) -> str:
    """Where the exception came from; empty without one."""
    return str(span.exception.attributes.get("exception.stacktrace", "")) if span.exception else ""


def slow_stack_headline(span: SpanRecord) -> str:
    """When the stack of a slow span was taken."""
    taken = next((event.time_unix_nano for event in span.events if event.name == STACK_EVENT), span.start_unix_nano)
    return f"where it was when it became slow, after {duration((taken - span.start_unix_nano) / 1e6)}:"


def print_span(
    console: Console,
    span: SpanRecord,
    facts: Sequence[tuple[str, str]] = (),
    *,
    moment: tuple[str, int] | None = None,
) -> None:
    """Print everything a person asks about one span; ``facts``, labels and what they say, come first.

    ``moment``, a label and a time in nanoseconds since 1970, stands instead of when it ended.
    """
    name = name_text(span.name)
    name.stylize("bold")
    title = Text.assemble(name, f"  {duration(span.duration_ms)}  ", remark(span))
    separate(console)
    for line in title.wrap(console, console.width, overflow="fold"):
        line.rstrip()
        console.print(line, no_wrap=True)
    label, when = moment or ("last seen" if span.is_interrupted else "ended", span.end_unix_nano)
    told_when = f"{clock(when, digits=6)}, {ago(when / 1e9, time.time())}"
    lines = [*facts, (label, told_when), ("service", span.service), ("trace", span.trace_id)]
    lines += [("span", f"{span.span_id}, {span.kind_name}"), ("error", error_message(span))]
    told = {label: printable(text) for label, text in lines if text}
    told |= {shown(key): attribute_text(value) for key, value in span.attributes.items()}
    print_labeled(console, told)
    print_stack_trace(console, stack_trace(span))
    if span.stack_trace:
        console.print(Text(f"{_MARGIN}{slow_stack_headline(span)}"))
        print_stack_trace(console, span.stack_trace)


def print_stack_trace(console: Console, text: str, *, margin: str = _MARGIN) -> None:
    """Print a stack trace, its lines as they are, to be copied; nothing when it is empty."""
    for line in text.splitlines():
        console.print(Text(f"{margin}{escape(line)}", "dim"), soft_wrap=True)


def print_labeled(console: Console, told: Mapping[str, Text], *, margin: str = _MARGIN, is_folded: bool = True) -> None:
    """Print labels and, beside each, what it says, in as many lines as that takes; else its own lines as they are."""
    label_width = min(max(map(cell_len, told), default=0), console.width // 3)
    room = max(1, console.width - label_width - len(margin) - len(_MARGIN))
    for label, text in told.items():
        labels = Text(label, "dim").wrap(console, label_width, overflow="fold")
        texts = text.wrap(console, room, overflow="fold") if is_folded else text.split("\n")
        for left, right in zip_longest(labels, texts, fillvalue=Text()):
            name = isolated(left)
            line = Text(margin).append_text(name).append(" " * (label_width - name.cell_len)).append(_MARGIN)
            line.append_text(right).rstrip()
            console.print(line, no_wrap=True, soft_wrap=not is_folded)


def print_attributes(
    console: Console, attributes: Mapping[str, Any], *, is_full: bool = True, margin: str = _MARGIN
) -> None:
    """Print attributes and their values; long ones cut, and the rest of them counted, unless ``is_full``."""
    told = {
        shown(key) or NO_NAME: cut(attribute_text(value).plain, is_full=is_full) for key, value in attributes.items()
    }
    print_labeled(console, told, margin=margin)


def cut(text: str, *, is_full: bool) -> Text:
    """Printable text as it is if ``is_full``, else its beginning and how much more there is."""
    if is_full or len(text) <= _ATTRIBUTE_CHARACTERS_MAX:
        return Text(text)
    rest = f" ... {count(len(text) - _ATTRIBUTE_CHARACTERS_MAX)} more characters; --full shows them"
    return Text(isolate(text[:_ATTRIBUTE_CHARACTERS_MAX])).append(rest, "dim")
