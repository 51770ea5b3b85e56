"""Any `SpanQuery` as arguments: the filters that ``spans`` and ``tail`` share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from otel_perfmon.cli import options
from otel_perfmon.cli.completion import complete_operations
from otel_perfmon.errors import QueryError
from otel_perfmon.json_form import as_json
from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.attributes import parse_attribute


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `query_of` reads, but for order, limit and page."""
    options.add_operation_argument(parser, is_optional=True, text="only spans of this operation")
    group = parser.add_argument_group("filters, of which all must hold")
    option = group.add_argument("--operation", metavar="NAME", dest="operation_option", help="as OPERATION")
    option.completer = complete_operations  # type: ignore[attr-defined] # which is how argcomplete is told
    options.add_service_option(parser)
    group.add_argument("--min", metavar="TIME", type=options.duration_ms, help="took at least 200ms, 1.5s")
    group.add_argument("--max", metavar="TIME", type=options.duration_ms, help="took at most that")
    _add_pair(group, "slow", "took longer than its threshold")
    _add_pair(group, "error", "failed")
    group.add_argument("--error-type", metavar="TYPE", help="failed with this type, such as TimeoutError")
    group.add_argument(
        "--attribute",
        metavar="KEY=VALUE",
        type=_attribute,
        action="append",
        default=[],
        help="has this attribute; may be repeated. VALUE is JSON if it parses (3, 1.5, true, '\"3\"'), else text",
    )
    group.add_argument("--trace", metavar="TRACE_ID", help="of this trace, all 32 digits")


def query_of(arguments: argparse.Namespace, **more: Any) -> SpanQuery:
    """The question that the arguments ask; ``more`` are fields of `SpanQuery` that they do not tell.

    Raises `QueryError` when no span can answer it.
    """
    if arguments.min is not None and arguments.max is not None and arguments.min > arguments.max:
        raise QueryError("No span takes at least --min and at most --max: --min is the longer one.")
    return SpanQuery(
        operation=_operation(arguments),
        service=arguments.service,
        min_duration_ms=arguments.min,
        max_duration_ms=arguments.max,
        is_slow=arguments.is_slow,
        is_error=arguments.is_error,
        error_type=arguments.error_type,
        attributes=_attributes(arguments),
        trace_id=arguments.trace,
        **more,
    )


def text_hint(attributes: Mapping[str, Any]) -> str:
    """How to ask for the text that an attribute's value would be without its JSON; empty where all are texts."""
    for key, value in attributes.items():
        if not isinstance(value, str):
            text = json.dumps(as_json(value), ensure_ascii=False)
            asked = f"{key}={json.dumps(text, ensure_ascii=False)}"
            return f" An attribute that is the text {text} is asked for by '{asked}'."
    return ""


def _add_pair(group: argparse._ArgumentGroup, name: str, text: str) -> None:
    pair = group.add_mutually_exclusive_group()
    pair.add_argument(f"--{name}", dest=f"is_{name}", action="store_const", const=True, help=text)
    pair.add_argument(f"--not-{name}", dest=f"is_{name}", action="store_const", const=False, help="did not")


def _attribute(text: str) -> tuple[str, Any]:
    try:
        return parse_attribute(text)
    except ValueError as error:
        message = f"{error}; {text!r:.100} is none"
        raise argparse.ArgumentTypeError(message) from error


def _attributes(arguments: argparse.Namespace) -> dict[str, Any]:
    wanted = dict(arguments.attribute)
    if len(wanted) < len(arguments.attribute):
        message = "An attribute has one value: name each key once with --attribute."
        raise QueryError(message)
    return wanted


def _operation(arguments: argparse.Namespace) -> str | None:
    named = {name for name in (arguments.operation, arguments.operation_option) if name is not None}
    if len(named) > 1:
        message = "A span is of one operation: name it once, as OPERATION or with --operation."
        raise QueryError(message)
    return named.pop() if named else None
