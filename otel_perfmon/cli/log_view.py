"""How log records are shown: each in a line of its own, or with everything it carries."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli.escaping import shown
from otel_perfmon.cli.report import cropped
from otel_perfmon.cli.span_view import attribute_text, cut, print_attributes, print_stack_trace
from otel_perfmon.moments import clock
from otel_perfmon.records import LogRecord

STACK_TRACE: Final = "exception.stacktrace"
_SEVERITY_WIDTH: Final = 5
_ID_LENGTH: Final = 16
_SEVERE, _WARNING = 17, 13


def severity_style(log: LogRecord) -> str:
    """The colour of its severity."""
    return "bold red" if log.severity_number >= _SEVERE else "yellow" if log.severity_number >= _WARNING else "dim"


def message_text(log: LogRecord) -> Text:
    """What it says: its body, else its event's name; behind it the exception that it tells of."""
    said = attribute_text(log.body) if log.body is not None else Text()
    if log.event_name:
        said = Text.assemble((shown(log.event_name), "bold"), "  " if said.plain else "", said)
    if log.exception is not None:
        kind, message = (str(log.attributes.get(f"exception.{name}", "")) for name in ("type", "message"))
        told = ": ".join(filter(None, (kind, message)))
        if told not in said.plain:
            said.append(f"  {shown(told)}", "red")
    return said


def log_line(log: LogRecord, width: int, *, is_of_trace: bool = False) -> Text:
    """One record in one line of at most ``width``: when, how severe, what it says, its service, its trace.

    The last two are left out where a heading tells of the trace.
    """
    line = Text(clock(log.moment_unix_nano, is_dated=False, digits=3), no_wrap=True)
    severity = shown(log.severity)[:_SEVERITY_WIDTH]
    line.append(f"  {severity:<{_SEVERITY_WIDTH}}  ", severity_style(log)).append_text(_one_line(message_text(log)))
    if is_of_trace:
        return cropped(line, width)
    line.append(f"  service={shown(log.service)}" if log.service else "", "dim")
    line = cropped(line, width - _ID_LENGTH - 2, is_padded=True)
    return line.append(f"  {log.trace_id[:_ID_LENGTH] if log.trace_id else ''}", "dim")


def _one_line(text: Text) -> Text:
    return Text(" ").join(text.split("\n"))


def print_log(console: Console, log: LogRecord, *, is_full: bool, margin: str = "") -> None:
    """Print a record in as many lines as it takes, with its attributes; cut where it is long, unless ``is_full``."""
    head = Text(f"{margin}{clock(log.moment_unix_nano, digits=6)}  ")
    head.append(f"{shown(log.severity) or '-'}  ", severity_style(log))
    head.append_text(cut(message_text(log).plain, is_full=is_full))
    console.print(head, soft_wrap=True)
    told = {"service": log.service, "trace": log.trace_id or "", "span": log.span_id or ""}
    print_attributes(console, {name: value for name, value in told.items() if value}, margin=f"{margin}  ")
    attributes = {key: value for key, value in log.attributes.items() if key != STACK_TRACE}
    print_attributes(console, attributes, is_full=is_full, margin=f"{margin}  ")
    print_stack_trace(console, str(log.attributes.get(STACK_TRACE, "")), margin=f"{margin}  ")
