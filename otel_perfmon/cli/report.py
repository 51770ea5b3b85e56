"""Answers on a terminal: figures a person can compare at a glance, and tables that fit the window.

Text that comes from data becomes a `rich.text.Text` of printable characters: neither rich's markup nor a terminal's
control sequences in it have any effect. Colour means something: red is an error, yellow is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Generic, TypeVar

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from otel_perfmon.cli import charts
from otel_perfmon.cli.escaping import escape
from otel_perfmon.records import ErrorGroup, OperationStats

ABSENT = "-"
INK = "color(67)"
"""What pictures are drawn with: a blue that is readable on black and on white, and lighter than the text."""
_HOURS_FROM_MS = 1e7
_UNITS_MS = (("s", 1e3), ("ms", 1.0), ("µs", 1e-3))
_RATE_UNITS = (("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400))
_SIZE_UNITS = (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024))
_GAP_WIDTH = 2
"""Between two columns: the padding of one and the table's own divider."""
_WIDTH_MIN = 40
"""Narrower than that no answer can be read; the terminal folds it."""
_TEXT_WIDTH_MIN = 24
"""Columns go before text is folded to less than this."""
_TEXT_WIDTH_LEAST = 8
_LINES_AT_ONCE = 100
_NAME_SHARE = 0.3
"""The first column, which says what a row is about, is not folded below this part of the width."""
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


class _Console(Console):
    """A console that lets `BrokenPipeError` pass: the exit status is the command's to choose."""

    def on_broken_pipe(self) -> None:
        """Called where the error is handled; rich would exit with 1."""
        raise BrokenPipeError


def open_console(*, is_stderr: bool = False, is_colored: bool = True) -> Console:
    """Standard output, or standard error, without rich's own colours: they would mean nothing."""
    theme = Theme({"bar.complete": "none", "bar.finished": "none", "bar.pulse": "none", "progress.remaining": "none"})
    console = _Console(
        stderr=is_stderr, markup=False, highlight=False, emoji=False, theme=theme, no_color=None if is_colored else True
    )
    if console.width < _WIDTH_MIN:  # noqa: PLR1730 - a width that is set no longer follows the window's
        console.width = _WIDTH_MIN
    return console


def print_table(console: Console, columns: Sequence[Column[_Row]], rows: Sequence[_Row]) -> None:
    """Print the rows, in as many of the columns as the console is wide enough for."""
    filled = [_filled(column, rows, console.width, is_first=column is columns[0]) for column in columns]
    while _width_min(filled) > console.width and any(each.column.rank for each in filled):
        filled.remove(max(filled, key=lambda each: each.column.rank))
    lines = _lines(console, filled, _widths(filled, console.width))
    while part := list(islice(lines, _LINES_AT_ONCE)):
        console.print(Text("\n").join(part), no_wrap=True, overflow="crop")


def fits(console: Console, columns: Sequence[Column[_Row]], rows: Sequence[_Row]) -> bool:
    """Whether the console is wide enough for all of the columns."""
    return _width_min([_filled(column, rows, console.width, is_first=False) for column in columns]) <= console.width


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
    if rounded >= _HOURS_FROM_MS:
        return f"{_three_digits(rounded / 3.6e6)} h"
    for unit, size in _UNITS_MS:
        if rounded >= size:
            return f"{_three_digits(rounded / size)} {unit}"
    return f"{rounded * 1e3:.3g} µs"


def round_duration(milliseconds: float) -> str:
    """As `duration`, of a round number: without zeros behind the point."""
    number, _, unit = duration(milliseconds).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def count(number: int) -> str:
    """All digits, in groups of three."""
    return f"{number:,}"


def sparkline(values: Iterable[float | None], chars: charts.Glyphs, style: str = INK, *, cell_width: int = 1) -> Text:
    """A sparkline (see `otel_perfmon.cli.charts`) with each character ``cell_width`` times, and what is nothing dim."""
    text = Text()
    for char in charts.sparkline(values, chars):
        text.append(char * cell_width, "dim" if char == chars.nothing else style)
    return text


def counted(number: int, noun: str) -> str:
    """So many of something: ``1 call``, ``1,204 calls``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def share(part: float) -> str:
    """A share between 0 and 1 in percent, with two significant digits below ten."""
    percent = float(f"{part * 100:.2g}")
    return f"{part * 100:.0f}%" if percent >= 10 else f"{percent:g}%"  # noqa: PLR2004 - two digits left of the point


def rate(per_second: float) -> str:
    """How often, with three significant digits, in a second, a minute, an hour or a day, whichever suits it."""
    for unit, seconds in _RATE_UNITS:
        number = float(f"{per_second * seconds:.3g}")
        if number >= 1 or unit == "d":
            return f"{_three_digits(number)}/{unit}" if number else "0/s"
    raise AssertionError


def size(size_bytes: float) -> str:
    """Bytes with three significant digits; a kilobyte has 1024."""
    for unit, factor in _SIZE_UNITS:
        if size_bytes >= 0.9995 * factor:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes:,.0f} bytes"


def printable(value: object) -> Text:
    """Data as text that does nothing to a terminal; see `otel_perfmon.cli.escaping`."""
    return Text(escape(value))


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


@dataclass(frozen=True, slots=True)
class _Filled(Generic[_Row]):
    """A column with its cells; the width below which numbers would be cut or text be hard to read, and the full one."""

    column: Column[_Row]
    cells: list[Text]
    width_min: int
    width_max: int


def _filled(column: Column[_Row], rows: Sequence[_Row], console_width: int, *, is_first: bool) -> _Filled[_Row]:
    cells = [column.cell(row) for row in rows]
    wide = max(len(column.heading), *(cell.cell_len for cell in cells), 0)
    text_min = max(_TEXT_WIDTH_MIN, int(console_width * _NAME_SHARE) if is_first else 0)
    return _Filled(column, cells, min(wide, text_min) if column.is_text else wide, wide)


def _widths(filled: Sequence[_Filled[_Row]], console_width: int) -> list[int]:
    """What is left goes to the columns in order; where even the least is too much, the widest texts give way."""
    widths = [each.width_min for each in filled]
    spare = console_width - _width_min(filled)
    for place, each in enumerate(filled):
        more = max(0, min(spare, each.width_max - each.width_min))
        widths[place] += more
        spare -= more
    texts = [place for place, each in enumerate(filled) if each.column.is_text]
    while spare < 0 and any(widths[place] > _TEXT_WIDTH_LEAST for place in texts):
        widths[max(texts, key=lambda place: widths[place])] -= 1
        spare += 1
    return widths


def _lines(console: Console, filled: Sequence[_Filled[_Row]], widths: Sequence[int]) -> Iterator[Text]:
    """The table from top to bottom; rich's own takes 10 s for 10,000 rows, and fills lines up with blanks."""
    is_text = [each.column.is_text for each in filled]
    yield _line([Text(each.column.heading) for each in filled], widths, is_text)
    yield Text(("-" if console.options.ascii_only else "─") * (sum(widths) + _GAP_WIDTH * (len(widths) - 1)))
    for row in zip(*(each.cells for each in filled), strict=True):
        if all(cell.cell_len <= width for cell, width in zip(row, widths, strict=True)):
            yield _line(row, widths, is_text)
        else:
            folded = [cell.wrap(console, width, overflow="fold") for cell, width in zip(row, widths, strict=True)]
            for cells in zip_longest(*folded, fillvalue=Text()):
                yield _line(cells, widths, is_text)


def _line(cells: Sequence[Text], widths: Sequence[int], is_text: Sequence[bool]) -> Text:
    """Texts stand to the left, numbers to the right; nothing stands behind the last of them."""
    line, blanks = Text(), 0
    for cell, width, is_left in zip(cells, widths, is_text, strict=True):
        room = width - cell.cell_len
        if cell.plain:
            line.append(" " * (blanks if is_left else blanks + room)).append_text(cell)
            blanks = (room if is_left else 0) + _GAP_WIDTH
        else:
            blanks += width + _GAP_WIDTH
    line.rstrip()
    return line


def _width_min(filled: Sequence[_Filled[_Row]]) -> int:
    return sum(each.width_min for each in filled) + _GAP_WIDTH * (len(filled) - 1)
