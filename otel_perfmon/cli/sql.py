"""``otel-perfmon sql``: questions in SQL over the views, read only and within a time limit."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.escaping import can_show, escape, shown
from otel_perfmon.cli.report import Column, fits, print_table, printable, separate
from otel_perfmon.cli.span_view import print_labeled
from otel_perfmon.quantities import count
from otel_perfmon.records import SqlRows
from otel_perfmon.storage.base import Store

_BLOB_SHOWN_BYTES: Final = 32
_EPILOG: Final = """\
examples:
  otel-perfmon sql                        the views and their columns
  otel-perfmon sql "SELECT operation, count, avg_ms FROM operations"
  otel-perfmon sql "SELECT name, duration_ms FROM spans WHERE is_slow" --limit 9
  otel-perfmon sql "SELECT * FROM operations" --csv > operations.csv

One statement that reads. Filter on the raw columns, such as end_unix_nano:
they have an index."""


def add_sql(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``sql``."""
    parser.epilog = _EPILOG
    parser.add_argument("statement", metavar="SELECT", nargs="?", help="the question; without it, what can be asked of")
    parser.add_argument(
        "--limit", metavar="N", type=options.count_at_least_1, default=1000, help="rows (default: 1000)"
    )
    parser.add_argument(
        "--timeout", metavar="TIME", type=options.duration_seconds, default=5.0, help="stop after that (default: 5s)"
    )
    parser.add_argument("--csv", action="store_true", help="print CSV: NULL is empty, a blob x'..'")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_sql)


def _run_sql(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        if arguments.statement is None:
            answered = _views(answer.store)
        else:
            answered = answer.store.query_sql(
                arguments.statement, rows_max=arguments.limit, seconds_max=arguments.timeout
            )
        if answer.is_json:
            names = _distinct(answered.columns)
            items = [dict(zip(names, row, strict=True)) for row in answered.rows]
            answer.print_json(items, is_complete=answered.is_complete)
        elif arguments.csv:
            _print_csv(answer, answered)
        elif arguments.statement is None:
            print_labeled(answer.console, {view: Text(columns) for view, columns in answered.rows})
        else:
            _print_rows(answer.console, answered, arguments.limit)
    return 0


def _views(store: Store) -> SqlRows:
    """Each view, and the names of its columns."""
    return SqlRows(("view", "columns"), tuple((view, ", ".join(names)) for view, names in store.list_views().items()))


def _print_rows(console: Console, answered: SqlRows, limit: int) -> None:
    """As a table, or, where it would be too wide, row by row with a line for each column."""
    columns = [_column(answered, place) for place in range(len(answered.columns))]
    if not answered.rows:
        console.print("No rows.")
    elif fits(console, columns, answered.rows):
        print_table(console, columns, answered.rows)
    else:
        for number, row in enumerate(answered.rows, 1):
            separate(console)
            console.print(Text(f"row {count(number)}", "bold"))
            names = map(shown, _distinct(answered.columns))
            print_labeled(console, {name: value_text(value) for name, value in zip(names, row, strict=True)})
    if not answered.is_complete:
        console.print(f"and more (--limit {limit * 10})")


def _column(answered: SqlRows, place: int) -> Column[Sequence[Any]]:
    is_number = all(isinstance(row[place], (int, float, type(None))) for row in answered.rows)
    return Column(shown(answered.columns[place]), lambda row: value_text(row[place]), is_text=not is_number)


def value_text(value: Any) -> Text:
    """A value as SQL writes it, texts without quotes; of a long blob the beginning."""
    if value is None:
        return Text("NULL", "dim")
    if isinstance(value, bytes):
        start, more = value[:_BLOB_SHOWN_BYTES].hex(), "…" if can_show("…") else ".."
        return Text(
            f"x'{start}'" if len(value) <= _BLOB_SHOWN_BYTES else f"x'{start}{more}' ({count(len(value))} bytes)"
        )
    return printable(value)


def _print_csv(answer: Answer, answered: SqlRows) -> None:
    """Texts as they are, for a program to read; but what a terminal would obey is escaped on one."""
    writer = csv.writer(answer.console.file, lineterminator="\n")
    form = escape if answer.console.is_terminal else str
    writer.writerow(map(form, answered.columns))
    for row in answered.rows:
        writer.writerow("" if value is None else _csv_value(value, form) for value in row)


def _csv_value(value: Any, form: Any) -> str:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else str(form(value))


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of columns, those that repeat numbered: ``count``, ``count_2``."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct
