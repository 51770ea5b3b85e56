"""Answers on a terminal: figures a person can compare at a glance, and tables that fit the window.

Text that comes from data becomes a `rich.text.Text` of printable characters: neither rich's markup nor a terminal's
control sequences in it have any effect. Colour means something: red is an error, yellow is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from otel_perfmon import quantities
from otel_perfmon.cli import charts
from otel_perfmon.cli.escaping import LEFT_TO_RIGHT, can_show, isolate, shown

ABSENT = "-"
NO_NAME = "(no name)"
_INK = "color(67)"
"""What pictures are drawn with: a blue that is readable on black and on white, and lighter than the text."""
_FEW_COLORS = frozenset(("standard", "windows"))
"""Of a terminal's 16 colours none but those that mean something is readable on black and on white."""
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
    """A console that knows whether it has printed; its `BrokenPipeError` is the command's to make an exit status of."""

    is_fresh = True

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's."""
        self.is_fresh = False
        super().print(*objects, **options)

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
    filled = _chosen(filled, console.width)
    lines = _lines(console, filled, _widths(filled, console.width))
    is_plain = console.color_system is None and not console.record  # a third of the time goes into styles nobody sees
    while part := list(islice(lines, _LINES_AT_ONCE)):
        text = Text("\n".join(line.plain for line in part)) if is_plain else Text("\n").join(part)
        console.print(text, no_wrap=True, overflow="crop")


def fits(console: Console, columns: Sequence[Column[_Row]], rows: Sequence[_Row]) -> bool:
    """Whether the console is wide enough for all of the columns."""
    return _width_min([_filled(column, rows, console.width, is_first=False) for column in columns]) <= console.width


def ink(console: Console) -> str:
    """The style of pictures; none on a terminal with 16 colours."""
    return "" if console.color_system in _FEW_COLORS else _INK


def separate(console: Console) -> None:
    """An empty line, but not as the first one."""
    if not getattr(console, "is_fresh", False):
        console.print()


def print_heading(console: Console, text: str, note: str = "") -> None:
    """A heading over what follows, with a note in the same line."""
    separate(console)
    print_wrapped(console, Text.assemble((text, "bold"), f"  {note}" if note else ""))


def print_wrapped(console: Console, text: Text) -> None:
    """A text over as many lines as it takes, none of which ends in blanks, as rich's would where it breaks them."""
    for line in text.wrap(console, console.width):
        line.rstrip()
        console.print(line)


def duration(milliseconds: float | None) -> str:
    """Three significant digits and the unit that suits them."""
    return ABSENT if milliseconds is None else _shown_unit(quantities.duration(milliseconds))


def signed_duration(nano: int) -> str:
    """Nanoseconds as `duration`, with their sign."""
    return _shown_unit(quantities.signed_duration(nano))


def round_duration(milliseconds: float) -> str:
    """As `duration`, of a round number: without zeros behind the point."""
    return _shown_unit(quantities.round_duration(milliseconds))


def sparkline(values: Iterable[float | None], chars: charts.Glyphs, style: str, *, cell_width: int = 1) -> Text:
    """A sparkline (see `otel_perfmon.cli.charts`) with each character ``cell_width`` times, and what is nothing dim."""
    text = Text()
    for is_nothing, run in groupby(charts.sparkline(values, chars), key=chars.nothing.__eq__):
        text.append("".join(char * cell_width for char in run), "dim" if is_nothing else style)
    return text


def printable(value: object) -> Text:
    """Data as text that does nothing to a terminal; see `otel_perfmon.cli.escaping`."""
    return Text(shown(value))


def name_text(name: str) -> Text:
    """The name of an operation, also of one that has none."""
    return printable(name or NO_NAME)


def cropped(text: Text, width: int, *, is_padded: bool = False) -> Text:
    """``text`` in at most ``width`` cells; filled up to them if ``is_padded``. It is changed itself."""
    if text.cell_len > width:
        ellipsis = "…" if can_show("…") else ".."
        text.truncate(max(0, width - len(ellipsis)))
        text.rstrip()
        text = isolated(text).append(ellipsis[: max(0, width)])
    if is_padded:
        text.pad_right(max(0, width - text.cell_len))
    return text


def isolated(text: Text) -> Text:
    """``text`` with marks around it where it runs from right to left; see `otel_perfmon.cli.escaping`."""
    if isolate(text.plain) == text.plain:
        return text
    return Text(LEFT_TO_RIGHT, no_wrap=text.no_wrap).append_text(text).append(LEFT_TO_RIGHT)


def _shown_unit(text: str) -> str:
    return text if can_show(text) else text.replace("µ", "u")


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


def _chosen(filled: Sequence[_Filled[_Row]], console_width: int) -> list[_Filled[_Row]]:
    """Those there is room for: the highest ranks go first, and what still fits comes back, the lowest rank first."""
    left = list(filled)
    dropped: list[_Filled[_Row]] = []
    while _width_min(left) > console_width and any(each.column.rank for each in left):
        dropped.append(max(left, key=lambda each: each.column.rank))
        left.remove(dropped[-1])
    for each in sorted(dropped, key=lambda each: each.column.rank):
        more = [one for one in filled if one in left or one is each]
        left = more if _width_min(more) <= console_width else left
    return left


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
            line.append(" " * (blanks if is_left else blanks + room)).append_text(isolated(cell))
            blanks = (room if is_left else 0) + _GAP_WIDTH
        else:
            blanks += width + _GAP_WIDTH
    line.rstrip()
    return line


def _width_min(filled: Sequence[_Filled[_Row]]) -> int:
    return sum(each.width_min for each in filled) + _GAP_WIDTH * (len(filled) - 1)
