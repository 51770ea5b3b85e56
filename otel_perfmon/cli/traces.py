"""``otel-perfmon trace``: one trace as a tree with a bar for each span, its errors, and its attributes."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli.answer import open_answer
from otel_perfmon.cli.completion import complete_traces
from otel_perfmon.cli.escaping import shown
from otel_perfmon.cli.excerpt import choose_rows
from otel_perfmon.cli.log_view import log_line, print_log
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.options import (
    add_service_option,
    add_store_options,
    add_window_option,
    count_at_least_0,
)
from otel_perfmon.cli.report import NO_NAME, duration, name_text, print_heading, signed_duration
from otel_perfmon.cli.span_view import (
    cut,
    error_headline,
    print_attributes,
    print_stack_trace,
    slow_stack_headline,
    stack_trace,
)
from otel_perfmon.cli.waterfall import print_waterfall
from otel_perfmon.errors import NotFoundError, QueryError
from otel_perfmon.frames import place_of
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import clock
from otel_perfmon.quantities import count, counted
from otel_perfmon.query import Order, SpanQuery
from otel_perfmon.records import Attributes, LogRecord, SpanRecord
from otel_perfmon.storage.base import Store
from otel_perfmon.trace import Trace, TraceNode, TraceTree

_ID_DIGITS: Final = 32
_PREFIX_DIGITS_MIN: Final = 4
_CANDIDATES_MAX: Final = 8
_SPANS_SHOWN: Final = 100
_SERVICES_SHOWN: Final = 6
_NAMES_SHOWN: Final = 6
_NAME_CHARACTERS_MAX: Final = 200
_ERRORS_SHOWN: Final = 20
_LOGS_SHOWN: Final = 50
_ATTRIBUTES_SHOWN: Final = 20
_STACK_TRACES: Final = ("exception.stacktrace", "code.stacktrace")
_EPILOG: Final = """\
examples:
  otel-perfmon trace last                        the trace that ended last
  otel-perfmon trace 0199c1d2                    by the beginning of its id
  otel-perfmon trace slowest load_cart --window 1h
  otel-perfmon trace last --attributes --full    all that the spans carry
  otel-perfmon trace last --json                 every span, with its self time

A bar is solid while its span is on the critical path: what had to be faster for
the trace to end earlier."""


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trace``."""
    parser.description = "Show one trace as a tree, with a bar for each span on a common time axis."
    parser.epilog = _EPILOG
    what = parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="+",
        help="a trace id or its first 4 digits or more, 'last', or 'slowest OPERATION'",
    )
    what.completer = complete_traces  # type: ignore[attr-defined] # which is how argcomplete is told
    add_window_option(parser)
    add_service_option(parser)
    parser.add_argument("--attributes", action="store_true", help="attributes, events and links of every span shown")
    parser.add_argument("--full", action="store_true", help="stack traces, and long texts in full")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count_at_least_0,
        default=_SPANS_SHOWN,
        help="show at most N spans, those that matter most; 0 is all (default: %(default)s; --json always has all)",
    )
    add_store_options(parser)
    parser.set_defaults(run=_run_trace, take_words=_take_words)


def _take_words(arguments: argparse.Namespace, more: Sequence[str]) -> list[str]:
    """Add the words that stand behind an option, where argparse leaves them; gives those that are none of WHAT."""
    arguments.what += [word for word in more if not word.startswith("-")]
    return [word for word in more if word.startswith("-")]


def _run_trace(arguments: argparse.Namespace) -> int:
    arguments.what, arguments.operation = _what(arguments.what)
    with open_answer(arguments) as answer:
        found = _find(answer.store, arguments)
        if answer.is_json:
            is_complete = found.trace.is_complete and found.is_certain
            items = [_item(node, found.trace.logs) for node in found.trace.tree().nodes]
            answer.print_json(items, window=arguments.window, is_complete=is_complete)
        else:
            tree = found.trace.with_logged_exceptions().tree()
            _print_trace(answer.console, found, tree, arguments)
    return 0


# --- which trace


class _Found(NamedTuple):
    """The trace that is meant, and the span by which it was found, if so; another may fit better if not certain."""

    trace: Trace
    span: SpanRecord | None = None
    is_certain: bool = True


def _what(words: Sequence[str]) -> tuple[str, str | None]:
    """The trace that is meant, and of ``slowest`` the operation."""
    what, *more = words
    what = what.strip()
    if what == "slowest" and not more:
        raise QueryError("Of which operation? Write: otel-perfmon trace slowest OPERATION.")
    if what != "slowest" and more:
        message = f"An operation goes with 'slowest' only: otel-perfmon trace slowest {more[0]!r:.100}."
        raise QueryError(message)
    if len(more) > 1:
        message = (
            f"One operation is wanted; put a name with blanks in quotes: otel-perfmon trace slowest '{more[0]:.100} …'."
        )
        raise QueryError(message)
    return what, more[0] if more else None


def _find(store: Store, arguments: argparse.Namespace) -> _Found:
    what = arguments.what
    if what in ("last", "slowest"):
        return _find_by_span(store, "newest" if what == "last" else "slowest", arguments)
    if arguments.window is not None or arguments.service is not None:
        raise QueryError("--window and --service go with 'last' and 'slowest'; an id is one trace already.")
    return _Found(store.get_trace(find_trace_id(store, what)))


def _find_by_span(store: Store, order: Order, arguments: argparse.Namespace) -> _Found:
    query = SpanQuery(
        operation=arguments.operation, service=arguments.service, window=arguments.window, order=order, limit=1
    )
    page = store.find_spans(query)
    if not page:
        check_names(store, operation=arguments.operation, service=arguments.service)
        of = f" of {arguments.operation or NO_NAME!r:.100}" if arguments.operation is not None else ""
        service = f" by the service {arguments.service!r:.100}" if arguments.service else ""
        window = " in that window" if arguments.window is not None else ""
        why = "none ended, or they are pruned by now"
        if not page.is_complete:
            why = f"the search stopped after {count(page.rows_read)} spans; --window narrows it"
        message = f"No span{of}{service}{window} was found: {why}."
        raise NotFoundError(message)
    return _Found(store.get_trace(page[0].trace_id), page[0], page.is_complete)


def find_trace_id(store: Store, what: str) -> str:
    """The id that begins so. Raises `QueryError` for what is none or names several, `NotFoundError`."""
    digits = what.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits, re.ASCII):
        message = f"A trace is named by its id or the first digits of it, 'last', or 'slowest'; {what!r:.100} is none."
        raise QueryError(message)
    if len(digits) == _ID_DIGITS:
        return digits
    if len(digits) < _PREFIX_DIGITS_MIN:
        message = f"At least {_PREFIX_DIGITS_MIN} digits of a trace id are wanted; {what!r} has {len(digits)}."
        raise QueryError(message)
    found = store.find_trace_ids(digits, limit=_CANDIDATES_MAX + 1)
    if not found:
        open_count = sum(each.span.trace_id.startswith(digits) for each in store.find_open_spans())
        message = f"No trace begins with {digits}: it was never stored, or is pruned by now."
        if open_count:
            opens = counted(open_count, "span")
            message = f"Nothing of trace {digits} has ended yet: {opens} of it can be seen with 'otel-perfmon running'."
        raise NotFoundError(message)
    if len(found) > 1:
        more = ", and more" if len(found) > _CANDIDATES_MAX else ""
        names = ", ".join(found[:_CANDIDATES_MAX])
        message = f"Several traces begin with {digits}; give more digits of one: {names}{more}."
        raise QueryError(message)
    return found[0]


def _item(node: TraceNode, logs: Sequence[LogRecord]) -> dict[str, Any]:
    own = [as_json(log) for log in logs if log.span_id == node.span.span_id]
    return {
        **as_json(node.span),
        "depth": node.depth,
        "self_ms": node.self_nano / 1e6,
        "critical_ms": node.critical_nano / 1e6,
        "is_orphan": node.is_orphan,
        "is_in_cycle": node.is_in_cycle,
        "skew_ms": node.skew_nano / 1e6,
        "logs": own,
    }


# --- what is shown


def _print_trace(out: Console, found: _Found, tree: TraceTree, arguments: argparse.Namespace) -> None:
    focus = next((index for index, node in enumerate(tree.nodes) if node.span == found.span), None)
    rows = choose_rows(tree, arguments.limit, focus=focus)
    chosen = [tree.nodes[row.node_index] for row in rows if row.node_index is not None]
    _print_head(out, found, tree)
    print_waterfall(out, tree, rows, focus=focus if arguments.what == "slowest" else None)
    if len(chosen) < len(tree.nodes):
        out.print(f"{count(len(chosen))} of {count(len(tree.nodes))} spans are shown; --limit 0 shows all.")
    _print_errors(out, tree.nodes, is_full=arguments.full)
    _print_slow_places(out, tree.nodes, is_full=arguments.full)
    _print_logs(out, found.trace.logs, tree, is_full=arguments.full)
    if arguments.attributes:
        _print_everything(out, tree, chosen, is_full=arguments.full)
    else:
        is_root = arguments.what != "slowest" or focus is None
        _print_own_attributes(out, tree.nodes[0 if is_root else focus or 0].span, is_full=arguments.full)


def _print_head(out: Console, found: _Found, tree: TraceTree) -> None:
    out.print(Text.assemble("Trace ", (found.trace.trace_id, "bold")))
    facts = [
        clock(tree.start_unix_nano, digits=3),
        duration((tree.end_unix_nano - tree.start_unix_nano) / 1e6),
        counted(len(tree.nodes), "span"),
    ]
    line = Text(", ".join(facts))
    if tree.error_count:
        line.append(", ").append(counted(tree.error_count, "error"), "red")
    if tree.slow_count:
        line.append(", ").append(f"{count(tree.slow_count)} slow", "yellow")
    interrupted_count = sum(node.span.is_interrupted for node in tree.nodes)
    if interrupted_count:
        line.append(", ").append(f"{count(interrupted_count)} interrupted", "yellow")
    if tree.services:
        names = ", ".join(shown(name) for name in tree.services[:_SERVICES_SHOWN])
        more = len(tree.services) - _SERVICES_SHOWN
        line.append(f", {'service' if len(tree.services) == 1 else 'services'} {names}")
        line.append(f" and {count(more)} more" if more > 0 else "")
    out.print(line)
    if not found.is_certain:
        out.print("The search for it stopped early, so there may be a better one; --window narrows it.")
    if not found.trace.is_complete:
        out.print("It has more spans than an answer holds: these are the last to arrive.")
    out.print()


# --- errors


def _print_errors(out: Console, nodes: Sequence[TraceNode], *, is_full: bool) -> None:
    """Each error once, with the spans in which it occurred, the deepest first: there it began."""
    groups: dict[str, list[TraceNode]] = {}
    for node in sorted(nodes, key=lambda node: -node.depth):
        if node.span.is_error:
            groups.setdefault(error_headline(node.span), []).append(node)
    if not groups:
        return
    print_heading(out, "Errors")
    for headline, failed in list(groups.items())[: None if is_full else _ERRORS_SHOWN]:
        out.print(_hanging(out, cut(shown(headline), is_full=is_full), Text("! ", "bold red")))
        out.print(_hanging(out, Text(f"in {_names(failed)}", "dim"), Text("  ")))
        if is_full:
            print_stack_trace(out, next(filter(None, (stack_trace(node.span) for node in failed)), ""), margin="    ")
    if len(groups) > _ERRORS_SHOWN and not is_full:
        out.print(f"  and {count(len(groups) - _ERRORS_SHOWN)} more kinds; --full shows them")


def _print_slow_places(out: Console, nodes: Sequence[TraceNode], *, is_full: bool) -> None:
    """The line in which each slow span was when it passed its threshold, if that was seen."""
    slow = [node.span for node in nodes if node.span.stack_trace]
    if not slow:
        return
    print_heading(out, "Where it was when it became slow", "" if is_full else "--full shows the stacks")
    for span in slow[: None if is_full else _ERRORS_SHOWN]:
        line = Text.assemble(name_text(span.name), "  ", (shown(place_of(span.stack_trace)), "dim"))
        out.print(_hanging(out, line, Text("~ ", "yellow")))
        if is_full:
            out.print(Text(f"    {slow_stack_headline(span)}"))
            print_stack_trace(out, span.stack_trace, margin="    ")
    if len(slow) > _ERRORS_SHOWN and not is_full:
        out.print(f"  and {count(len(slow) - _ERRORS_SHOWN)} more; --full shows them")


def _print_logs(out: Console, logs: Sequence[LogRecord], tree: TraceTree, *, is_full: bool) -> None:
    """The log records of each span under its name, in the order of the tree; those of no stored span last."""
    if not logs:
        return
    print_heading(out, "Logs", "" if is_full else "--full shows all that they carry")
    names = {node.span.span_id: name_text(node.span.name) for node in tree.nodes}
    places = {span_id: number for number, span_id in enumerate(names)}
    left_count = 0 if is_full else max(0, len(logs) - _LOGS_SHOWN)
    last = None
    for log in sorted(logs[left_count:], key=lambda log: places.get(log.span_id or "", len(places))):
        if log.span_id != last:
            last = log.span_id
            out.print(Text("  in ", "dim").append_text(names.get(last or "", Text("no span that is stored", "dim"))))
        if is_full:
            print_log(out, log, is_full=True, margin="    ")
        else:
            out.print(Text("    ").append_text(log_line(log, out.width - 4, is_of_trace=True)), no_wrap=True)
    if left_count:
        out.print(f"  and {count(left_count)} earlier ones; 'otel-perfmon logs --trace' lists them")


def _names(failed: Sequence[TraceNode]) -> str:
    """The names of the spans, each once, in that order."""
    counts = Counter(node.span.name for node in failed)
    names = [
        f"{name_text(name[:_NAME_CHARACTERS_MAX])}{f' ({count(number)} times)' if number > 1 else ''}"
        for name, number in counts.items()
    ]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {count(more)} more" if more > 0 else "")


def _hanging(out: Console, text: Text, sign: Text) -> Text:
    """``text`` in lines that stand behind ``sign``."""
    lines = text.wrap(out, max(1, out.width - sign.cell_len), overflow="fold")
    return Text("\n").join(
        (sign if not number else Text(" " * sign.cell_len)) + line for number, line in enumerate(lines)
    )


# --- attributes


def _print_own_attributes(out: Console, span: SpanRecord, *, is_full: bool) -> None:
    if not span.attributes:
        return
    print_heading(out, "Attributes", f"of {name_text(span.name)}; --attributes shows those of every span")
    first = list(span.attributes.items())[: None if is_full else _ATTRIBUTES_SHOWN]
    print_attributes(out, dict(first), is_full=is_full)
    if len(first) < len(span.attributes):
        out.print(f"  and {count(len(span.attributes) - len(first))} more; --full shows them", style="dim")


def _print_everything(out: Console, tree: TraceTree, chosen: Sequence[TraceNode], *, is_full: bool) -> None:
    """Attributes, events and links of each span, then the resources they come from."""
    for node in chosen:
        span = node.span
        since = signed_duration(node.start_unix_nano - tree.start_unix_nano)
        print_heading(out, name_text(span.name).plain, f"{since}, {span.kind_name}, span {span.span_id}")
        print_attributes(out, span.attributes, is_full=is_full)
        for event in span.events:
            offset = signed_duration(event.time_unix_nano - span.start_unix_nano)
            out.print(Text(f"  {offset} event {shown(event.name)}"))
            print_attributes(out, _without_stack_trace(event.attributes), is_full=is_full, margin="    ")
        for link in span.links:
            out.print(Text(f"  link to span {link.span_id} of trace {link.trace_id}"))
            print_attributes(out, link.attributes, is_full=is_full, margin="    ")
    resources = {json.dumps(as_json(node.span.resource)): node.span for node in chosen}
    for span in resources.values():
        print_heading(out, "Resource", shown(span.service))
        print_attributes(out, span.resource.attributes, is_full=is_full)


def _without_stack_trace(attributes: Attributes) -> Attributes:
    """Stack traces stand with the errors, and with what was slow."""
    return {key: value for key, value in attributes.items() if key not in _STACK_TRACES}
