"""``otel-perfmon bench``: what monitoring costs on this machine, as tables, bars or JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from otel_perfmon.bench.figures import Figure, Spread
from otel_perfmon.bench.run import SECTIONS, Section, measure_sections
from otel_perfmon.bench.sizes import FULL, QUICK, SPANS_DEFAULT, SPANS_MAX, SPANS_QUICK, Sizes
from otel_perfmon.bench.surroundings import describe_machine
from otel_perfmon.cli import options, report
from otel_perfmon.cli.charts import bar, glyphs
from otel_perfmon.cli.escaping import can_show
from otel_perfmon.cli.report import Column, duration, ink, print_heading, print_table
from otel_perfmon.json_form import as_json
from otel_perfmon.quantities import count, size

_NOTES: Final = {
    "overhead": "CPU of all threads, but the waits; R: the SDK's bare span",
    "loops": "default settings",
    "insertion": "ratios to executemany of the same rows",
    "size": "row, indexes and rollups",
    "questions": "",
    "startup": "beyond importing the SDK",
}
_BARS: Final = ("timer", "bare", "stored", "batch_processor", "otlp", "naive")
"""What is drawn side by side; the last one is far longer than the others and is cut."""
_BAR_WIDTH_MAX: Final = 40
_HUNDRED: Final = 100
_EPILOG: Final = """\
examples:
  otel-perfmon bench                        two to four minutes
  otel-perfmon bench --quick                a first idea, in 20 s
  otel-perfmon bench --spans 10000000       questions over ten million spans
  otel-perfmon bench --quick --json | jq .figures.stored.ratio.median

Ratios are what travels between machines: R is the time of a bare span of the
OpenTelemetry SDK that keeps nothing, measured next to each figure. Quartiles are
those of the ratio, else of the median. "Met" says whether the figure is what it
must be, or even what it aims at; the exit status does not.

--json prints one object:
  machine, is_quick, seconds
  figures, by name, each with
    section, title, note
    value, in unit   median, low and high (quartiles); null: not measured
    ratio            likewise; null: none; ratio_of says to what
    goal             must, aim, is_at_least; bounds of the ratio, else the value
    verdict          "aim" or "must" are met, "missed", or null

Files go into a temporary folder, and are removed: about 500 MB, and 400 bytes
for each of --spans."""


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``bench``."""
    parser.description = (
        "Measures what the monitor costs beside the bare SDK and beside other ways of doing the same, whether anything"
        " is lost, how fast rows are written, what a span takes on the disk and how long questions take."
    )
    parser.epilog = _EPILOG
    parser.add_argument("--quick", action="store_true", help="less of everything, in 20 s")
    parser.add_argument(
        "--spans",
        metavar="N",
        type=_span_count,
        help=f"ask over so many spans, up to {SPANS_MAX:,} (default: {SPANS_DEFAULT:,}; quick: {SPANS_QUICK:,})",
    )
    parser.add_argument("--db", metavar="FILE", help="ask FILE; if it is not there, fill it first, and keep it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _span_count(text: str) -> int:
    number = options.count_at_least_1(text)
    if number > SPANS_MAX:
        message = f"at most {SPANS_MAX:,} are filled in"
        raise argparse.ArgumentTypeError(message)
    return number


def _run(arguments: argparse.Namespace) -> int:
    spans = arguments.spans or (SPANS_QUICK if arguments.quick else SPANS_DEFAULT)
    out, progress = report.open_console(), report.open_console(is_stderr=True)
    run_bench(QUICK if arguments.quick else FULL, (spans, arguments.db), out, progress, is_json=arguments.json)
    return 0


def run_bench(
    sizes: Sizes, asked: tuple[int, str | None], out: Console, progress_console: Console, *, is_json: bool
) -> None:
    """Measure everything and print it, each section when it is done, or at the end all of it as JSON.

    ``asked``: over how many spans questions are asked, and the store to fill with them and keep, or to ask if it is
    there. Raises `PerfmonError` when that store cannot be asked.
    """
    begun = time.perf_counter()
    watch = _Watch(progress_console)
    measured: list[Section] = []
    if not is_json:
        out.print(_machine())
    with closing(measure_sections(sizes, *asked, watch.tell)) as sections:
        while section := watch.over(lambda: next(sections, None)):
            measured.append(section)
            if not is_json:
                _print_section(out, section)
    if is_json:
        answer = _as_json(measured, time.perf_counter() - begun, is_quick=sizes is QUICK)
        out.file.write(json.dumps(answer, indent=2 if out.is_terminal else None) + "\n")
    else:
        _print_sum(out, [figure for section in measured for figure in section.figures])


def _as_json(sections: Sequence[Section], seconds: float, *, is_quick: bool) -> dict[str, Any]:
    """The object that the help describes."""
    figures = {}
    for section in sections:
        for figure in section.figures:
            fields = {"section": section.name, **as_json(figure), "verdict": figure.verdict}
            figures[fields.pop("name")] = fields
    return {
        "command": "bench",
        "machine": describe_machine(),
        "is_quick": is_quick,
        "seconds": round(seconds, 1),
        "figures": figures,
    }


def _machine() -> str:
    told = describe_machine()
    versions = f"{told['python']}, OpenTelemetry SDK {told['opentelemetry_sdk']}, SQLite {told['sqlite']}"
    return f"{versions}, {told['system']}, {told['cpu_count']} CPUs"


# --- tables


def _print_section(out: Console, section: Section) -> None:
    print_heading(out, SECTIONS[section.name], _NOTES[section.name])
    columns = [column for column in _columns() if any(column.cell(figure).plain for figure in section.figures)]
    print_table(out, columns, section.figures)
    for figure in section.figures:
        if figure.note:
            out.print(f"{figure.title}: {figure.note}")
    if section.name == "overhead":
        _print_bars(out, {figure.name: figure for figure in section.figures})


def _columns() -> list[Column[Figure]]:
    return [
        Column("", lambda figure: Text(figure.title), is_text=True),
        Column("Median", lambda figure: Text(_amount(figure.value and figure.value.median, figure.unit))),
        Column("Ratio", lambda figure: Text(_number(figure.ratio.median) if figure.ratio else "")),
        Column("Quartiles", lambda figure: Text(_quartiles(figure)), rank=1),
        Column("Must", lambda figure: Text(_bound(figure, figure.goal.must) if figure.goal else "")),
        Column("Aim", lambda figure: Text(_bound(figure, figure.goal.aim) if figure.goal else "")),
        Column("Met", _verdict, is_text=True),
    ]


def _verdict(figure: Figure) -> Text:
    return Text(figure.verdict or "", "red" if figure.verdict == "missed" else "")


def _bound(figure: Figure, bound: float | None) -> str:
    if bound is None or figure.goal is None:
        return ""
    unit = "" if figure.ratio else figure.unit
    sign, plain = ("≥", ">=") if figure.goal.is_at_least else ("≤", "<=")
    return f"{sign if can_show(sign) else plain} {_amount(bound, unit, is_round=True)}"


def _quartiles(figure: Figure) -> str:
    spread = figure.ratio or figure.value
    if spread is None or spread.low == spread.high:
        return ""
    if figure.ratio:
        return f"{_number(spread.low)}-{_number(spread.high)}"
    low, high = _amount(spread.low, figure.unit), _amount(spread.high, figure.unit)
    return f"{low.partition(' ')[0] if low.partition(' ')[2] == high.partition(' ')[2] else low}-{high}"


def _amount(value: float | None, unit: str, *, is_round: bool = False) -> str:
    if value is None:
        return report.ABSENT
    if unit in {"us", "ms"}:
        milliseconds = value / 1000 if unit == "us" else value
        return report.round_duration(milliseconds) if is_round else duration(milliseconds)
    if unit == "bytes":
        return size(value) if not is_round or value < 1024 else f"{value / 2**20:g} MB"  # noqa: PLR2004 - a kilobyte
    if unit in {"rows/s", "spans/s"}:
        return f"{_number(value / 1000)}k/s" if value >= 1000 else f"{value:.0f}/s"  # noqa: PLR2004 - a thousand
    return count(round(value)) if unit else _number(value)


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= _HUNDRED else f"{value:.3g}"


# --- bars


def _print_bars(out: Console, figures: dict[str, Figure]) -> None:
    """The ways side by side; of the naive one only that it is longer than all."""
    shown = [figures[name] for name in _BARS if name in figures and figures[name].value is not None]
    most = max((_median(figure.value) for figure in shown if figure.name != "naive"), default=0.0)
    chars = glyphs(is_ascii=out.options.ascii_only)
    title_width = max((len(figure.title) for figure in shown), default=0)
    width = max(1, min(_BAR_WIDTH_MAX, out.width - title_width - len("  1,234 µs > ") - 2))
    print_heading(out, "Beside other ways", "what an operation costs")
    for figure in shown:
        value = _median(figure.value)
        line = Text(f"{figure.title:{title_width}}  ")
        line.append(bar(value, most, width, chars), ink(out)).append(" > " if value > most else " ")
        out.print(line.append(_amount(value, figure.unit)), no_wrap=True, overflow="crop")


def _median(spread: Spread | None) -> float:
    return spread.median if spread is not None else 0.0


def _print_sum(out: Console, figures: Sequence[Figure]) -> None:
    judged_count, title, missed = 0, "", []
    for figure in figures:
        is_more = figure.title.startswith("- ")
        title = title if is_more else figure.title
        judged_count += figure.verdict is not None
        if figure.verdict == "missed":
            missed.append(f"{title} {figure.title[2:]}" if is_more else title)
    report.separate(out)
    out.print(f"{judged_count - len(missed)} of {judged_count} figures are what they must be.")
    if missed:
        out.print(f"Missed: {'; '.join(missed)}.")


# --- progress


class _Watch:
    """What is being measured, on the console while it is; nothing where nobody watches.

    Drawn only when there is news, between two measurements: a thread that draws would be measured too.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_interactive,
        )
        self._task = self._progress.add_task("", total=len(SECTIONS), detail="")

    def over(self, measure: Callable[[], Section | None]) -> Section | None:
        """Measure one section, watched."""
        with self._progress:
            return measure()

    def tell(self, name: str, detail: str) -> None:
        """Draw that this section is being measured, and how far it is."""
        done = list(SECTIONS).index(name)
        self._progress.update(self._task, description=SECTIONS[name], completed=done, detail=detail, refresh=True)
