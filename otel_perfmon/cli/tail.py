"""``otel-perfmon tail``: spans as they end, in any process that records into the file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from rich.text import Text

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import escape
from otel_perfmon.cli.filters import add_filters, query_of
from otel_perfmon.cli.span_view import span_line
from otel_perfmon.errors import SchemaError, StoreError
from otel_perfmon.json_form import as_json
from otel_perfmon.query import SpanQuery
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import Store
from otel_perfmon.storage.sqlite.path_status import inode_of

_POLL_SECONDS: Final = 0.1
_PAGE: Final = 1_000
_PATIENCE_SECONDS: Final = 5.0
"""A file that cannot be read for longer than that is worth a word."""
_EPILOG: Final = """\
examples:
  otel-perfmon tail
  otel-perfmon tail --error --last 5    the newest errors, then each to come
  otel-perfmon tail checkout --min 200ms
  otel-perfmon tail --json | jq -c '{name, duration_ms, error_type}'

Each span is shown once, within half a second of its end. Ctrl-C stops it, with
exit status 0. With --json each line is an object of its own: a span, as in the
items of 'spans --json'."""


def add_tail(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``tail``."""
    parser.epilog = _EPILOG
    add_filters(parser)
    parser.add_argument(
        "--last", metavar="N", type=options.count_at_least_0, default=0, help="first the N newest that match"
    )
    options.add_store_options(parser)
    parser.set_defaults(run=_run_tail)


def _run_tail(arguments: argparse.Namespace) -> int:
    query = query_of(arguments, order="arrival", limit=_PAGE)
    with open_answer(arguments) as answer:
        _say_if_unknown(answer.store, query)
        try:
            token = answer.store.get_end_token()
            last = _last(answer.store, query, arguments.last)
            _show(answer, last)
            for spans in _follow(answer, replace(query, page_token=token), seen=last):
                _show(answer, spans)
        except KeyboardInterrupt:  # how one stops following
            return 0
    return 0  # pragma: no cover - following has no end


def _say_if_unknown(store: Store, query: SpanQuery) -> None:
    """Of what is waited for under a name that nothing has had yet, say so: it may be mistyped."""
    for what, name, names in (
        ("operation", query.operation, store.list_operations),
        ("service", query.service, store.list_services),
    ):
        if name is not None and name not in names():
            sentence = f"The {what} {name!r:.200} has not been recorded yet; waiting for it."
            print(f"otel-perfmon: {escape(sentence)}", file=sys.stderr, flush=True)


def _last(store: Store, query: SpanQuery, limit: int) -> list[SpanRecord]:
    """The ``limit`` newest that match, oldest first."""
    return list(store.find_spans(replace(query, order="newest", limit=limit)))[::-1] if limit else []


def _follow(answer: Answer, query: SpanQuery, seen: Sequence[SpanRecord]) -> Iterator[list[SpanRecord]]:
    """What arrives after the query's page token, without end; without those that were ``seen`` before it began."""
    shown = Counter(map(_key, seen))
    file, patience = inode_of(answer.path), _Patience()
    while True:
        try:
            page = answer.store.find_spans(query)
        except SchemaError:
            raise
        except StoreError as error:  # locked, or being replaced
            patience.wait(error)
            continue
        patience.end()
        if inode_of(answer.path) != file:  # all in a new file is new
            file, query = inode_of(answer.path), replace(query, page_token=None)
            continue
        yield [span for span in page if not _take(shown, _key(span))]
        query = replace(query, page_token=page.next_page_token)
        if page.is_complete and len(page) < query.limit:
            time.sleep(_POLL_SECONDS)


def _key(span: SpanRecord) -> tuple[str, str, int]:
    return span.trace_id, span.span_id, span.start_unix_nano


def _take(shown: Counter[tuple[str, str, int]], key: tuple[str, str, int]) -> bool:
    """Whether a span of that key was shown before; each counts once, for equal ids are no proof of the same span."""
    if not shown or shown[key] <= 0:
        return False
    shown[key] -= 1
    return True


def _show(answer: Answer, spans: Sequence[SpanRecord]) -> None:
    if not spans:
        return
    if answer.is_json:
        answer.print_line("\n".join(json.dumps(as_json(span)) for span in spans))
    else:
        lines = Text("\n").join(span_line(span, answer.console.width) for span in spans)
        answer.console.print(lines, soft_wrap=True)


class _Patience:
    """Waits between questions that fail, and says so once when it takes long."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_told = False

    def wait(self, error: StoreError) -> None:
        """Wait a moment; after `_PATIENCE_SECONDS` of failing say why, once."""
        self._since = time.monotonic() if self._since is None else self._since
        if not self._is_told and time.monotonic() - self._since > _PATIENCE_SECONDS:
            print(f"otel-perfmon: still waiting: {escape(error)}", file=sys.stderr, flush=True)
            self._is_told = True
        time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """It worked again."""
        self._since, self._is_told = None, False
