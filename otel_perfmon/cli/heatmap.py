"""``otel-perfmon heatmap``: how the durations of an operation spread, over time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.cli import charts, options
from otel_perfmon.cli.answer import open_answer
from otel_perfmon.cli.names import check_names
from otel_perfmon.cli.report import duration, ink, name_text, print_wrapped, separate, sparkline
from otel_perfmon.moments import period, spread
from otel_perfmon.quantities import count
from otel_perfmon.records import Heatmap

_LABEL_WIDTH: Final = 9
_ROWS_MAX: Final = 18
_CELLS_MAX: Final = 160
_JSON_CELLS: Final = 60
"""Whatever the width of the terminal."""
_CELL_WIDTH_MAX: Final = 4
_LABELED_EVERY: Final = 2
_STYLES: Final = ("color(67)", "color(32)", "color(99)", "color(163)")
"""From little to much. Neither red nor yellow, which mean something, and readable on black and on white."""
_EPILOG: Final = """\
examples:
  otel-perfmon heatmap checkout
  otel-perfmon heatmap checkout --window 24h
  otel-perfmon heatmap checkout --window 09:30/10:00 --service shop

Time goes from left to right, durations upwards; the denser a place, the more
calls took so long then. Errors are counted on the line below."""


def add_heatmap(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``heatmap``."""
    parser.epilog = _EPILOG
    options.add_operation_argument(parser, is_optional=True, text="an operation (default: all together)")
    options.add_window_option(parser)
    options.add_service_option(parser)
    options.add_store_options(parser)
    parser.set_defaults(run=_run_heatmap)


def _run_heatmap(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        heatmap = answer.store.summarize_heatmap(
            arguments.operation,
            service=arguments.service,
            window=arguments.window,
            cells_max=_JSON_CELLS if answer.is_json else min(_CELLS_MAX, answer.console.width - _LABEL_WIDTH - 1),
            rows_max=_ROWS_MAX,
        )
        is_empty = not heatmap.bounds_ms
        if is_empty:
            check_names(answer.store, operation=arguments.operation, service=arguments.service)
        if answer.is_json:
            answer.print_json([heatmap], window=heatmap.window)
        elif is_empty:
            answer.print_nothing("call ended", arguments.window)
        else:
            print_heatmap(answer.console, heatmap)
    return 0


def print_heatmap(console: Console, heatmap: Heatmap) -> None:
    """Draw a heatmap that has rows, with its axes, its errors and what the shades mean."""
    chars = charts.glyphs(is_ascii=console.options.ascii_only)
    cells = len(heatmap.counts)
    cell_width = max(1, min(_CELL_WIDTH_MAX, (console.width - _LABEL_WIDTH - 1) // max(1, cells)))
    styles = _STYLES if ink(console) else [""] * len(_STYLES)
    most = max(max(column) for column in heatmap.counts)
    name = name_text("all operations together" if heatmap.operation is None else heatmap.operation)
    name.stylize("bold")
    separate(console)
    print_wrapped(
        console, Text.assemble(name, f"  {spread(heatmap.window)}, each place is {period(heatmap.cell_seconds)}")
    )
    for row in reversed(range(len(heatmap.bounds_ms) - 1)):
        text = _line(heatmap, row, most, chars, styles, cell_width=cell_width)
        text.rstrip()
        console.print(text)
    if any(heatmap.error_counts):
        errors = sparkline(heatmap.error_counts, chars, "red", cell_width=cell_width)
        text = Text(f"{'errors':>{_LABEL_WIDTH}} ").append_text(errors)
        text.rstrip()
        console.print(text)
    axis = charts.time_axis(
        heatmap.window.start_unix_nano, heatmap.cell_seconds, cells, cell_width=cell_width, chars=chars
    )
    for line in axis:
        console.print(Text(f"{'':{_LABEL_WIDTH}} {line}".rstrip(), "dim"))
    console.print(_legend(heatmap, most, chars, styles))


def _line(
    heatmap: Heatmap, row: int, most: int, chars: charts.Glyphs, styles: Sequence[str], *, cell_width: int
) -> Text:
    """One row of durations; its label is the least of them, on every second row."""
    label = "" if row % _LABELED_EVERY else duration(heatmap.bounds_ms[row])
    line = Text(f"{label:>{_LABEL_WIDTH}} ")
    for column in heatmap.counts:
        if column[row]:
            index = charts.shade(column[row], most, chars)
            line.append(chars.shades[index] * cell_width, styles[index])
        else:
            line.append(" " * cell_width)
    return line


def _legend(heatmap: Heatmap, most: int, chars: charts.Glyphs, styles: Sequence[str]) -> Text:
    legend = Text(f"{'calls':>{_LABEL_WIDTH}} ")
    starts = charts.shade_starts(most, chars)
    for index, start in enumerate(starts):
        end = starts[index + 1] - 1 if index + 1 < len(starts) else most
        if start <= end:
            numbers = count(start) if start == end else f"{count(start)} to {count(end)}"
            legend.append(chars.shades[index], styles[index]).append(f" {numbers}   ")
    failed = sum(heatmap.error_counts)
    return legend.append(f"{count(failed)} failed" if failed else "none failed", "red" if failed else "")
