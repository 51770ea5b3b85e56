"""A trace as a picture: its tree from top to bottom, and a bar for each span on one time axis.

A bar is solid where its span is on the critical path. The picture fits the console's width whatever the spans hold:
names are cut, deep trees are indented only so far and then say their depth, and of long traces the rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from otel_perfmon.cli.charts import Glyphs, glyphs
from otel_perfmon.cli.escaping import can_show, isolate
from otel_perfmon.cli.excerpt import Row
from otel_perfmon.cli.report import cropped, duration, name_text, signed_duration
from otel_perfmon.quantities import count
from otel_perfmon.trace import TraceNode, TraceTree

_GAP: Final = "  "
_SELF_WIDTH_MIN: Final = 64
"""On a narrower console there is no column for self time."""
_NAME_SHARE: Final = 0.5
"""Of the room for names and bars, what long names may take."""
_NAME_WIDTH_MIN: Final = 20
_NAME_KEPT: Final = 10
"""Cells of a name that stay before a service has to go."""
_SERVICE_KEPT: Final = 5
_TICK_GAP: Final = 2
_TICK_CELLS_MIN: Final = 5
_INSTANT: Final = "│"
_HALF_A_CELL: Final = 0.5
_FLAG_REMOTE: Final = 0x300
"""OTLP's SpanFlags: bit 8 says that bit 9 is known, bit 9 that the parent is in another process."""

_ORPHAN: Final = "(orphan)"
_REMOTE: Final = "(remote)"
_CYCLE: Final = "(cycle)"
_CLOCK: Final = "(clock)"
_MEANINGS: Final = {
    _ORPHAN: "its parent is not stored: it has not ended yet, was lost, or is pruned",
    _REMOTE: "its parent is in a process that does not record here",
    _CYCLE: "these spans are each other's parents; the one that started first stands on top",
    _CLOCK: "its process has another clock: moved, with all below it, to fit its parent",
}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths in cells; a column of width 0 is not there."""

    mark_width: int
    name_width: int
    time_width: int
    self_width: int
    bar_width: int

    @property
    def level_max(self) -> int:
        """How many levels are indented, two cells each."""
        return self.name_width // 5


def print_waterfall(console: Console, tree: TraceTree, rows: Sequence[Row], *, focus: int | None = None) -> None:
    """Print the rows of a tree that is not empty; the node at index ``focus`` in bold."""
    picture = _Picture(tree, rows, console.width, is_ascii=console.options.ascii_only, focus=focus)
    for line in picture.lines():
        console.print(line, no_wrap=True, overflow="ignore", crop=True)
    if picture.legend():
        console.print(picture.legend(), style="dim")
    for note in picture.notes():
        console.print(note, style="dim")


class _Picture:
    def __init__(self, tree: TraceTree, rows: Sequence[Row], width: int, *, is_ascii: bool, focus: int | None) -> None:
        self._tree, self._rows, self._focus = tree, rows, focus
        self._glyphs, self._is_ascii = glyphs(is_ascii=is_ascii), is_ascii
        self._ellipsis = ".." if is_ascii else "…"
        self._nodes = [tree.nodes[row.node_index] for row in rows if row.node_index is not None]
        self._services = len(tree.services)
        self._names = [self._name(row) for row in rows]
        self._layout = self._measure(width)
        self._axis = _Axis(tree.start_unix_nano, tree.end_unix_nano, self._layout.bar_width)
        self._segments: dict[int, list[tuple[int, int]]] = {}
        for index, start, end in tree.critical_path:
            self._segments.setdefault(index, []).append((start, end))

    def lines(self) -> Iterator[Text]:
        """The heading with the ruler, then one line a row."""
        layout = self._layout
        labels, ticks = self._axis.ruler(self._glyphs)
        left = layout.mark_width + layout.name_width
        heads = ["Span".ljust(left), "Took".rjust(layout.time_width)]
        heads += ["Self".rjust(layout.self_width)] if layout.self_width else []
        head = _GAP.join(heads)
        yield Text(f"{head}{_GAP}{labels}")
        yield Text(self._glyphs.line * (len(head) + len(_GAP)) + ticks)
        for row, guide, name in zip(self._rows, self._guides(), self._names, strict=True):
            yield self._hidden_line(row, guide, name) if row.node_index is None else self._line(row, guide, name)

    def legend(self) -> str:
        """What the signs mean that occur."""
        signs = ["! error"] if any(node.span.is_error for node in self._nodes) else []
        signs += ["~ slow"] if any(node.span.is_slow for node in self._nodes) else []
        told = {self._glyphs.full: "on the critical path", self._glyphs.shades[0]: "beside it"}
        signs += [f"{sign} {meaning}" for sign, meaning in told.items() if sign in self._axis.drawn]
        signs += [f"{self._deep(9)}is 9 levels deep"] if any(self._is_deep(row) for row in self._rows) else []
        return "   ".join(signs)

    def notes(self) -> list[str]:
        """What the notes mean that occur."""
        found = dict.fromkeys(note for node in self._nodes for note in self._notes(node))
        moved = [node.skew_nano for node in self._nodes if _CLOCK in self._notes(node)]
        by = " to ".join(signed_duration(nano) for nano in sorted({min(moved), max(moved)})) if moved else ""
        return [f"{note} {_MEANINGS[note]}{f', by {by}' if note == _CLOCK else ''}" for note in found]

    # --- widths

    def _measure(self, width: int) -> _Layout:
        mark_width = max((len(_marks(node)) + 1 for node in self._nodes if _marks(node)), default=0)
        time_width = max([len("Took"), *(len(duration(node.duration_nano / 1e6)) for node in self._nodes)])
        self_width = time_width if width >= _SELF_WIDTH_MIN else 0
        room = width - mark_width - time_width - self_width - len(_GAP) * (3 if self_width else 2)
        wanted = max(
            2 * row.level + name.cell_len + (len(self._deep(row.depth)) if row.level < row.depth else 0)
            for row, name in zip(self._rows, self._names, strict=True)
        )
        name_width = min(max(wanted, len("Span")), max(_NAME_WIDTH_MIN, int(room * _NAME_SHARE)), room - 10)
        return _Layout(mark_width, name_width, time_width, self_width, room - name_width)

    # --- one line

    def _line(self, row: Row, guide: str, name: _Name) -> Text:
        assert row.node_index is not None
        node, layout = self._tree.nodes[row.node_index], self._layout
        style = "red" if node.span.is_error else "yellow" if node.span.is_slow else ""
        strong = f"bold {style}" if row.node_index == self._focus else style
        line = Text(no_wrap=True)
        line.append(_marks(node).ljust(layout.mark_width), f"bold {style}")
        line.append(guide, "dim")
        room = layout.mark_width + layout.name_width - line.cell_len
        for part, part_style in name.fitted(room):
            line.append(isolate(part), strong if part_style is None else part_style)
        line.append(" " * (layout.mark_width + layout.name_width - line.cell_len))
        line.append(_GAP + duration(node.duration_nano / 1e6).rjust(layout.time_width), strong)
        if layout.self_width:
            line.append(_GAP + duration(node.self_nano / 1e6).rjust(layout.self_width), "dim")
        line.append(_GAP)
        self._axis.append_bar(line, node, self._segments.get(row.node_index, []), self._glyphs, style)
        return line

    def _hidden_line(self, row: Row, guide: str, name: _Name) -> Text:
        layout = self._layout
        left = layout.mark_width + layout.name_width
        text = _fitted(" " * layout.mark_width + guide + name.name, left)
        times = len(_GAP) + layout.time_width + (len(_GAP) + layout.self_width if layout.self_width else 0)
        line = Text(text + " " * (left - cell_len(text) + times), "dim", no_wrap=True)
        first, last = self._axis.cells(row.start_unix_nano, row.end_unix_nano)
        line.append(_GAP + " " * first + ("." if self._is_ascii else "┄") * (last - first + 1))
        return line

    # --- the tree at the left

    def _guides(self) -> list[str]:
        """For each row the lines that lead to it; at the depth where indenting ends, the depth in figures."""
        down, middle, end = ("| ", "|-", "`-") if self._is_ascii else ("│ ", "├ ", "└ ")
        level_max = self._layout.level_max
        guides: list[str] = []
        is_open = [False] * (level_max + 2)  # whether a later row goes on at that level
        for row in reversed(self._rows):
            level = min(row.level, level_max)
            lines = [down if is_open[each] else "  " for each in range(1, level)]
            lines += [middle if is_open[level] else end] if level else []
            guides.append("".join(lines) + (self._deep(row.depth) if self._is_deep(row) else ""))
            is_open[level + 1 :] = [False] * (level_max + 1 - level)
            is_open[level] = level > 0
        return guides[::-1]

    def _is_deep(self, row: Row) -> bool:
        return row.node_index is not None and row.depth != min(row.level, self._layout.level_max)

    def _deep(self, depth: int) -> str:
        return f"{'>' if self._is_ascii else '↳'}{depth} "

    def _name(self, row: Row) -> _Name:
        if row.node_index is None:
            errors = f", {count(row.hidden_error_count)} failed" if row.hidden_error_count else ""
            return _Name(f"{self._ellipsis} {count(row.hidden_count)} more{errors}", "", "")
        node = self._tree.nodes[row.node_index]
        parent = None if node.parent_index is None else self._tree.nodes[node.parent_index].span
        is_told = self._services > 1 and (parent is None or parent.service != node.span.service)
        service = f"@{name_text(node.span.service)}" if is_told else ""
        return _Name(name_text(node.span.name).plain, service, " ".join(self._notes(node)))

    def _notes(self, node: TraceNode) -> list[str]:
        """What is odd about a node; of what moved with its parent, nothing."""
        notes = []
        if node.is_orphan:
            notes.append(_REMOTE if node.span.flags & _FLAG_REMOTE == _FLAG_REMOTE else _ORPHAN)
        if node.is_in_cycle:
            notes.append(_CYCLE)
        if node.parent_index is not None and node.skew_nano != self._tree.nodes[node.parent_index].skew_nano:
            notes.append(_CLOCK)
        return notes


@dataclass(frozen=True, slots=True)
class _Name:
    """A span's name, service and notes, all printable."""

    name: str
    service: str
    notes: str

    @property
    def cell_len(self) -> int:
        return sum(cell_len(part) + 1 for part in (self.name, self.service, self.notes) if part) - 1

    def fitted(self, width: int) -> list[tuple[str, str | None]]:
        """What fits into ``width`` cells, each part with its style, None for the name's own.

        The notes whole, the service if that leaves some of the name, the name cut.
        """
        notes = f" {self.notes}" if self.notes and len(self.notes) + _NAME_KEPT // 2 < width else ""
        room = width - len(notes)
        spare = room - min(cell_len(self.name), max(_NAME_KEPT, room * 2 // 3))
        is_told = self.service and spare >= _SERVICE_KEPT
        service = _fitted(f" {self.service}", spare) if is_told else ""
        name = _fitted(self.name, room - cell_len(service))
        return [(name, None), (service, "dim"), (notes, "dim")]


def _fitted(text: str, width: int) -> str:
    return cropped(Text(text), width).plain


def _marks(node: TraceNode) -> str:
    return ("!" if node.span.is_error else "") + ("~" if node.span.is_slow else "")


class _Axis:
    """Time across: ``width`` cells from ``start`` to ``end``."""

    def __init__(self, start: int, end: int, width: int) -> None:
        self._start, self._width = start, width
        self._total = max(1, end - start)
        self.drawn: set[str] = set()
        """The characters of the bars until now."""

    def cells(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last cell of a stretch of time; at least one."""
        left, right = self._position(start), self._position(end)
        if right - left < 1:
            cell = min(self._width - 1, int((left + right) / 2))
            return cell, cell
        return int(left + 0.5), int(right + 0.5) - 1

    def append_bar(
        self, line: Text, node: TraceNode, segments: Sequence[tuple[int, int]], chars: Glyphs, style: str
    ) -> None:
        """Add a node's bar: solid in the cells of which at least half of its time is in its critical segments."""
        first, last = self.cells(node.start_unix_nano, node.end_unix_nano)
        line.append(" " * first)
        if not node.duration_nano:
            line.append("|" if chars.full.isascii() else _INSTANT, style)
            return
        critical = self._shares(segments, first, last)
        if first == last:
            critical = [node.critical_nano / node.duration_nano]
        bar = "".join(chars.full if share >= _HALF_A_CELL else chars.shades[0] for share in critical)
        self.drawn.update(bar)
        line.append(bar, style)

    def ruler(self, chars: Glyphs) -> tuple[str, str]:
        """Times since the start, and the line below them with a tick under the first character of each."""
        line, ticks = [" "] * self._width, [chars.line] * self._width
        for moment, label in self._labels():
            cell = int(self._position(self._start + moment))
            if cell + len(label) <= self._width:
                line[cell : cell + len(label)] = label
                ticks[cell] = chars.tick
        return "".join(line).rstrip(), "".join(ticks)

    def _labels(self) -> list[tuple[int, str]]:
        """Nanoseconds since the start, and how to write them: as many round ones as there is room for."""
        size, unit = next(each for each in _UNITS_NANO if self._total >= each[0])
        steps = (digit * 10**power for power in range(20) for digit in (1, 2, 5))
        for step in steps:
            cells = step * self._width / self._total
            if cells < _TICK_CELLS_MIN:
                continue
            labels = [
                (at, f"{at / size:,.10g} {unit if can_show(unit) else 'us'}" if at else "0")
                for at in range(0, self._total, step)
            ]
            if cells >= max(len(label) for _, label in labels) + _TICK_GAP:
                return labels
        return [(0, "0")]

    def _position(self, moment: int) -> float:
        return (moment - self._start) * self._width / self._total

    def _shares(self, segments: Sequence[tuple[int, int]], first: int, last: int) -> list[float]:
        shares = [0.0] * (last - first + 1)
        for start, end in segments:
            left, right = self._position(start), self._position(end)
            for cell in range(max(first, int(left)), min(last, int(right)) + 1):
                shares[cell - first] += min(right, cell + 1) - max(left, cell)
        return shares


_UNITS_NANO: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
