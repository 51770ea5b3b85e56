"""``otel-perfmon spans`` and ``slow``: single spans, found by any mark."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, Final, get_args

from rich.text import Text

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.filters import add_filters, query_of, text_hint
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.report import ABSENT, NO_NAME, Column, print_heading, print_table
from otel_perfmon.cli.span_view import print_span, span_columns
from otel_perfmon.json_form import as_json
from otel_perfmon.moments import during
from otel_perfmon.quantities import count
from otel_perfmon.query import Order, SpanQuery
from otel_perfmon.records import SpanPage
from otel_perfmon.storage.base import Store

_NEAR_ALL_PERCENT: Final = 99
_SPANS_EPILOG: Final = """\
examples:
  otel-perfmon spans --min 200ms --window 1h
  otel-perfmon spans checkout --error --order slowest --limit 5
  otel-perfmon spans --attribute customer.id=4711 --show customer.id
  otel-perfmon spans --error --json | jq -r '.items[].trace_id'

Attributes and durations have no index: a search for them reads a bounded
number of spans, and says when it stopped."""
_SLOW_EPILOG: Final = """\
examples:
  otel-perfmon slow
  otel-perfmon slow checkout --order slowest --limit 5
  otel-perfmon slow --window 15m --full    with attributes and stack traces

Slow is a span that took longer than the threshold of the program that recorded
it ($OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS). 'otel-perfmon trace TRACE' shows
where the time went."""


def add_spans(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``spans``."""
    parser.epilog = _SPANS_EPILOG
    add_filters(parser)
    options.add_window_option(parser)
    parser.add_argument(
        "--order", choices=get_args(Order), default="newest", help="by end, duration or arrival (default: newest)"
    )
    parser.add_argument("--limit", metavar="N", type=options.count_at_least_1, default=20, help="spans (default: 20)")
    parser.add_argument("--page", metavar="TOKEN", help="go on where an answer ended")
    parser.add_argument(
        "--show", metavar="KEY", action="append", default=[], help="a column with this attribute; may be repeated"
    )
    parser.add_argument("--full", action="store_true", help="all there is of each span, with its stack trace")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_spans)


def add_slow(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``slow``."""
    parser.epilog = _SLOW_EPILOG
    options.add_operation_argument(parser, is_optional=True, text="only spans of this operation")
    options.add_window_option(parser)
    options.add_service_option(parser)
    parser.add_argument("--order", choices=("newest", "slowest"), default="newest", help="(default: newest)")
    parser.add_argument("--limit", metavar="N", type=options.count_at_least_1, default=20, help="spans (default: 20)")
    parser.add_argument("--page", metavar="TOKEN", help="go on where an answer with --json ended")
    parser.add_argument("--full", action="store_true", help="with attributes and stack traces")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_slow)


def _run_spans(arguments: argparse.Namespace) -> int:
    query = query_of(
        arguments, window=arguments.window, order=arguments.order, limit=arguments.limit, page_token=arguments.page
    )
    with open_answer(arguments) as answer:
        page = answer.store.find_spans(query)
        if answer.is_json:
            _print_page_json(answer, query, page, page.spans)
        elif not page.spans and page.is_complete:
            _print_nothing(answer, query, "span matches", text_hint(query.attributes))
        else:
            if arguments.full:
                for span in page:
                    print_span(answer.console, span)
            elif page.spans:
                print_table(answer.console, span_columns(answer.store, arguments.show), page.spans)
            _print_rest(answer, query, page)
    return 0


def _print_page_json(answer: Answer, query: SpanQuery, page: SpanPage, items: Sequence[Any]) -> None:
    if not page.spans:
        check_names(answer.store, operation=query.operation, service=query.service)
    answer.print_json(
        items,
        window=query.window,
        is_complete=page.is_complete and not _is_more(query, page),
        next_page_token=page.next_page_token,
    )


def _print_nothing(answer: Answer, query: SpanQuery, what: str, hint: str = "") -> None:
    check_names(answer.store, operation=query.operation, service=query.service)
    answer.print_nothing(what, query.window, hint)


def _is_more(query: SpanQuery, page: SpanPage) -> bool:
    """Whether a span that matches may follow the page; by arrival one can go on even after the last."""
    is_end = query.order == "arrival" and page.is_complete and len(page) < query.limit
    return page.next_page_token is not None and not is_end


def _print_rest(answer: Answer, query: SpanQuery, page: SpanPage) -> None:
    """Whether there may be more, and how to go on."""
    if not page.is_complete:
        stopped = f"The search stopped after reading {count(page.rows_read)} spans: more may match."
        answer.console.print(Text(stopped, "bold"))
    if _is_more(query, page):
        answer.print_line(f"{'and more' if page.is_complete else 'To go on'}: --page {page.next_page_token}")


# --- slow


def _run_slow(arguments: argparse.Namespace) -> int:
    query = SpanQuery(
        operation=arguments.operation,
        service=arguments.service,
        window=arguments.window,
        is_slow=True,
        order=arguments.order,
        limit=arguments.limit,
        page_token=arguments.page,
    )
    with open_answer(arguments) as answer:
        page = answer.store.find_spans(query)
        ranks = _percentile_ranks(answer.store, page, arguments.service)
        if answer.is_json:
            items = [{**as_json(span), "percentile_rank": rank} for span, rank in zip(page, ranks, strict=True)]
            _print_page_json(answer, query, page, items)
        elif not page.spans:
            _print_nothing(answer, query, "slow span")
        elif arguments.full:
            for span, rank in zip(page, ranks, strict=True):
                name = span.name or NO_NAME
                print_span(answer.console, span, [("rank", f"slower than {_rank_text(rank)} of {name}")])
        else:
            _print_slow(answer, arguments, page, ranks)
        if not answer.is_json and _is_more(query, page):
            answer.console.print(f"and more (--limit {arguments.limit * 5})")
    return 0


def _print_slow(answer: Answer, arguments: argparse.Namespace, page: SpanPage, ranks: list[float | None]) -> None:
    rank_of = dict(zip(map(id, page), ranks, strict=True))
    columns = span_columns(answer.store, is_slow_told=False)
    columns.insert(3, Column("Rank", lambda span: Text(_rank_text(rank_of[id(span)]))))
    title = "Slowest spans" if arguments.order == "slowest" else "Newest slow spans"
    print_heading(answer.console, title, during(arguments.window) if arguments.window else "")
    answer.console.print("rank: slower than so many of its operation's calls")
    print_table(answer.console, columns, page.spans)


def _percentile_ranks(store: Store, page: SpanPage, service: str | None) -> list[float | None]:
    """Of each span, the share of its operation's calls that were quicker; one question for each operation."""
    names = dict.fromkeys(span.name for span in page)
    spreads = {name: store.summarize_distribution(name, service=service) for name in names}
    return [spreads[span.name].percentile_rank(span.duration_ms) for span in page]


def _rank_text(rank: float | None) -> str:
    """Rounded down: nothing is slower than 100 % of what it belongs to."""
    if rank is None:
        return ABSENT
    percent = rank * 100
    if percent < _NEAR_ALL_PERCENT:
        return f"{math.floor(percent)}%"
    return f"{min(99.99, math.floor(percent * 100) / 100):g}%"
