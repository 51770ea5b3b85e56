"""Answers on a terminal: figures a person can compare at a glance, and tables that fit the window.

Text that comes from data becomes a `rich.text.Text` of printable characters: neither rich's markup nor a terminal's
control sequences in it have any effect. Colour means something: red is an error, yellow is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from otel_perfmon.records import ErrorGroup, OperationStats

ABSENT = "-"
_UNITS_MS = (("s", 1e3), ("ms", 1.0), ("µs", 1e-3))
_GAP_WIDTH = 2
"""Between two columns: the padding of one and the table's own divider."""
_TEXT_WIDTH_MIN = 24
"""Columns go before text is folded to less than this."""
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[_Row]):
    """One column: its heading and the cell of a row. Of those with a ``rank``, the highest go first for want of room.

    Numbers stand to the right and are never cut; text is folded.
    """

    heading: str
    cell: Callable[[_Row], Text]
    rank: int = 0
    is_text: bool = False


def open_console(*, is_stderr: bool = False) -> Console:
    """Standard output, or standard error, without rich's own colours: they would mean nothing."""
    theme = Theme({"bar.complete": "none", "bar.finished": "none", "bar.pulse": "none", "progress.remaining": "none"})
    return Console(stderr=is_stderr, markup=False, highlight=False, emoji=False, theme=theme)


def print_table(console: Console, columns: Sequence[Column[_Row]], rows: Sequence[_Row]) -> None:
    """Print the rows, in as many of the columns as the console is wide enough for."""
    kept = list(columns)
    while _width_min(kept, rows) > console.width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    console.print(_table(kept, rows, console.width))


def print_heading(console: Console, text: str, note: str = "") -> None:
    """A heading over what follows, with a note in the same line."""
    console.print()
    console.print(Text.assemble((text, "bold"), f"  {note}" if note else ""))


def operation_columns(error_rate_threshold: float) -> list[Column[OperationStats]]:
    """What is worth knowing of an operation; an error rate over the threshold is marked with ``!``."""
    return [
        Column("Operation", lambda stats: printable(stats.operation), is_text=True),
        Column("Calls", lambda stats: Text(count(stats.count))),
        Column("Errors", lambda stats: _errors(stats, error_rate_threshold)),
        Column("Slow", lambda stats: Text(count(stats.slow_count), "yellow" if stats.slow_count else ""), rank=2),
        Column("Median", lambda stats: Text(duration(stats.p50_ms)), rank=5),
        Column("95%", lambda stats: Text(duration(stats.p95_ms)), rank=3),
        Column("Longest", lambda stats: Text(duration(stats.max_ms)), rank=6),
        Column("Total", lambda stats: Text(duration(stats.total_ms)), rank=1),
        Column("Self", lambda stats: Text(duration(stats.self_ms)), rank=4),
    ]


def error_columns() -> list[Column[ErrorGroup]]:
    """What is worth knowing of a group of alike errors."""
    return [
        Column("Times", lambda group: Text(count(group.count), "red")),
        Column("In", lambda group: printable(group.operation), rank=1, is_text=True),
        Column("Type", lambda group: printable(group.error_type), rank=2, is_text=True),
        Column("Message", lambda group: printable(group.message), is_text=True),
    ]


def are_over(stats: Iterable[OperationStats], error_rate_threshold: float) -> bool:
    """Whether any operation fails more often than the threshold allows."""
    return any(each.error_rate > error_rate_threshold for each in stats)


def duration(milliseconds: float | None) -> str:
    """Three significant digits and the unit that suits them."""
    if milliseconds is None:
        return ABSENT
    rounded = float(f"{milliseconds:.3g}")
    for unit, size in _UNITS_MS:
        if rounded >= size:
            return f"{_three_digits(rounded / size)} {unit}"
    return f"{rounded * 1e3:.3g} µs"


def count(number: int) -> str:
    """All digits, in groups of three."""
    return f"{number:,}"


def share(part: float) -> str:
    """A share between 0 and 1 in percent, with two significant digits below ten."""
    percent = float(f"{part * 100:.2g}")
    return f"{part * 100:.0f}%" if percent >= 10 else f"{percent:g}%"  # noqa: PLR2004 - two digits left of the point


def printable(value: object) -> Text:
    """Data as text that does nothing to a terminal: what does not print is escaped as Python would."""
    return Text("".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(value)))


def _three_digits(value: float) -> str:
    for limit, places in ((10.0, 2), (100.0, 1)):
        if value < limit:
            return f"{value:.{places}f}"
    return f"{value:,.0f}"


def _errors(stats: OperationStats, error_rate_threshold: float) -> Text:
    if not stats.error_count:
        return Text("0")
    is_over = stats.error_rate > error_rate_threshold
    figure = f"{count(stats.error_count)} ({share(stats.error_rate)})"
    return Text(f"! {figure}" if is_over else figure, "bold red" if is_over else "red")


def _table(columns: Sequence[Column[_Row]], rows: Sequence[_Row], width_max: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    spare = max(0, width_max - _width_min(columns, rows))
    for column in columns:
        narrow, wide = _cell_widths(column, rows)
        width = min(wide, narrow + spare)
        spare -= width - narrow
        table.add_column(
            column.heading,
            justify="left" if column.is_text else "right",
            overflow="fold",
            no_wrap=not column.is_text,
            width=width,
        )
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    return table


def _width_min(columns: Sequence[Column[_Row]], rows: Sequence[_Row]) -> int:
    return sum(_cell_widths(column, rows)[0] for column in columns) + _GAP_WIDTH * (len(columns) - 1)


def _cell_widths(column: Column[_Row], rows: Sequence[_Row]) -> tuple[int, int]:
    """The width below which numbers would be cut or text be hard to read, and the one that holds everything."""
    wide = max(len(column.heading), *(column.cell(row).cell_len for row in rows), 0)
    return (min(wide, _TEXT_WIDTH_MIN) if column.is_text else wide), wide
