from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_kit import span_record
from rich.cells import cell_len
from rich.console import Console

from otel_perfmon import SpanRecord
from otel_perfmon.cli.excerpt import choose_rows
from otel_perfmon.cli.waterfall import print_waterfall
from otel_perfmon.records import ResourceRecord
from otel_perfmon.trace import Trace, TraceTree

MS = 10**6
LRM = "\N{LEFT-TO-RIGHT MARK}"


def _span(name: str, parent: str | None, start_ms: float, end_ms: float, service: str = "shop", **fields) -> SpanRecord:
    """A span whose id is its name unless told otherwise."""
    values = {
        "span_id": name,
        "parent_span_id": parent,
        "name": name,
        "start_unix_nano": round(start_ms * MS),
        "end_unix_nano": round(end_ms * MS),
        "flags": 0x101,
        "resource": ResourceRecord({"service.name": service}),
    }
    return span_record(**{**values, **fields})


def _tree(*spans: SpanRecord) -> TraceTree:
    return Trace("a" * 32, spans).tree()


def _draw(tree: TraceTree, width: int = 80, spans_max: int = 0, focus: int | None = None, **console) -> list[str]:
    file = io.StringIO()
    out = Console(file=file, width=width, **console)
    print_waterfall(out, tree, choose_rows(tree, spans_max, focus=focus), focus=focus)
    return file.getvalue().splitlines()


def _line(lines: list[str], word: str) -> str:
    return next(line for line in lines if word in line)


SHOP = _tree(
    _span("checkout", None, 0, 100),
    _span("load", "checkout", 0, 50),
    _span("query", "load", 0, 50, "stock"),
    _span("log", "load", 10, 20),
    _span("charge", "checkout", 50, 75, "payments"),
)


def test_the_picture_of_a_small_trace() -> None:
    assert _draw(SHOP, 80) == [
        "Span                   Took     Self  0       20 ms   40 ms    60 ms   80 ms",
        "──────────────────────────────────────┴───────┴───────┴────────┴───────┴────────",
        "checkout @shop       100 ms  25.0 ms  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░███████████",
        "├ load              50.0 ms     0 µs  ░░░░░░░░░░░░░░░░░░░░░",
        "│ ├ query @stock    50.0 ms  50.0 ms  █████████████████████",
        "│ └ log             10.0 ms  10.0 ms      ░░░░",
        "└ charge @payments  25.0 ms  25.0 ms                       ███████████",
        "█ on the critical path   ░ beside it",
    ]


@pytest.mark.parametrize("width", [80, 120, 160, 200])
def test_the_whole_width_is_used_and_every_tick_stands_under_its_label(width) -> None:
    labels, ticks, root, *_ = _draw(SHOP, width)
    assert len(ticks) == len(root) == width
    at = [cell for cell, char in enumerate(ticks) if char == "┴"]
    assert all(labels[cell].isdigit() and labels[cell - 1] == " " for cell in at)
    assert len(at) >= 3
    assert root.index("░") == at[0]


@pytest.mark.parametrize(
    ("total_ms", "labels"),
    [
        (0.0, "0"),
        (0.000_05, "0  10 ns  20 ns  30 ns  40 ns"),
        (0.003, "0  0.5 µs  1 µs  1.5 µs  2 µs  2.5 µs"),
        (0.9, "0  200 µs  400 µs  600 µs  800 µs"),
        (1.5, "0  0.2 ms  0.4 ms  0.6 ms  0.8 ms  1 ms  1.2 ms"),
        (9_000.0, "0  1 s  2 s  3 s  4 s  5 s  6 s  7 s  8 s"),
        (86_400_000.0, "0  20,000 s  40,000 s  60,000 s"),
    ],
)
def test_the_ruler_has_round_times_in_a_unit_that_suits_them(total_ms, labels) -> None:
    ruler = _draw(_tree(_span("root", None, 0, total_ms)), 90)[0]
    assert re.sub(" {2,}", "  ", ruler[ruler.index("Self") + 4 :].strip()) == labels


def test_errors_and_slow_spans_are_marked_without_colour_and_told_in_the_legend() -> None:
    tree = _tree(
        _span("root", None, 0, 9),
        _span("bad", "root", 1, 2, is_error=True),
        _span("late", "root", 3, 4, is_slow=True),
        _span("both", "root", 5, 6, is_error=True, is_slow=True),
    )
    lines = _draw(tree)
    assert [line[:3] for line in lines[2:6]] == ["   ", "!  ", "~  ", "!~ "]
    assert "! error   ~ slow" in lines[6]
    assert "error" not in _draw(SHOP)[-1]


def test_errors_are_red_slow_spans_yellow_and_the_span_asked_for_bold_on_a_terminal() -> None:
    tree = _tree(
        _span("root", None, 0, 9), _span("bad", "root", 1, 2, is_error=True), _span("late", "root", 3, 4, is_slow=True)
    )
    lines = _draw(tree, focus=2, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[31m" in _line(lines, "bad")
    assert "\x1b[33m" in _line(lines, "late") or "\x1b[1;33m" in _line(lines, "late")
    assert "\x1b[1;33mlate" in _line(lines, "late")
    assert "\x1b[3" not in _line(lines, "root")


def test_a_file_gets_no_control_sequences() -> None:
    assert "\x1b" not in "".join(_draw(SHOP))


def test_a_span_that_took_no_time_is_a_line_at_its_moment() -> None:
    tree = _tree(_span("root", None, 0, 100), _span("instant", "root", 50, 50), _span("backwards", "root", 100, 90))
    lines = _draw(tree)
    start = lines[1].index("┴")
    assert _line(lines, "instant").rstrip()[-1] == "│"
    assert abs(_line(lines, "instant").index("│", start) - start - (80 - start) // 2) <= 1
    assert _line(lines, "backwards").index("│", start) == 79


def test_a_trace_that_took_no_time_at_all_is_drawn_too() -> None:
    assert "│" in _line(_draw(_tree(_span("instant", None, 5, 5))), "instant")


def test_a_span_much_shorter_than_a_cell_still_has_a_bar() -> None:
    tree = _tree(
        _span("root", None, 0, 1000), _span("short", "root", 500, 500.001), _span("end", "root", 999.999, 1000)
    )
    lines = _draw(tree)
    assert "█" in _line(lines, "short")
    assert _line(lines, "end")[79] == "█"


def test_a_service_is_told_where_it_changes_and_not_at_all_if_there_is_one() -> None:
    assert "@shop" in _line(_draw(SHOP), "checkout")
    assert "@" not in _line(_draw(SHOP), "load")
    assert "@" not in "".join(_draw(_tree(_span("root", None, 0, 9), _span("a", "root", 1, 2))))


def test_what_is_odd_about_a_span_is_noted_and_explained() -> None:
    tree = _tree(
        _span("call", None, 0, 100),
        _span("serve", "call", 5000, 5010, "stock"),
        _span("query", "serve", 5001, 5009, "stock"),
        _span("lost", "f" * 16, 10, 20),
        _span("served", "e" * 16, 10, 20, flags=0x301),
        _span("circle", "circle", 30, 40),
    )
    lines = _draw(tree, 120)
    assert "(clock)" in _line(lines, "serve @stock")
    assert "(clock)" not in _line(lines, "query")
    assert "(orphan)" in _line(lines, "lost")
    assert "(remote)" in _line(lines, "served")
    assert "(cycle)" in _line(lines, "circle")
    told = lines[lines.index(_line(lines, "critical path")) + 1 :]
    assert [line.split()[0] for line in told] == ["(clock)", "(orphan)", "(remote)", "(cycle)"]
    assert told[0].endswith("by -4.96 s")


def test_what_is_left_out_is_told_with_its_errors_where_it_is_and_when_it_was() -> None:
    failed = [_span(f"{n}", "root", 10 + n, 11 + n, is_error=True) for n in range(12)]
    lines = _draw(_tree(_span("root", None, 0, 100), *failed), spans_max=3)
    hidden = _line(lines, "more")
    assert "└ … 10 more, 10 failed" in hidden
    assert "┄" in hidden


def test_a_chain_of_a_thousand_is_indented_only_so_far_and_then_tells_its_depth() -> None:
    chain = _tree(*(_span(f"level {n}", f"level {n - 1}" if n else None, n, 3000 - n) for n in range(1000)))
    lines = _draw(chain)
    assert "↳999 level 999 " in _line(lines, "level 999")
    assert "↳" not in _line(lines, "level 3 ")
    assert max(map(len, lines)) == 80
    assert lines[-1].endswith("↳9 is 9 levels deep")


def test_the_leaf_of_a_chain_that_is_too_long_to_show_has_the_bar_that_the_legend_explains() -> None:
    chain = _tree(*(_span(f"level {n}", f"level {n - 1}" if n else None, 0, 3000) for n in range(2000)))
    lines = _draw(chain, spans_max=20)
    assert "↳1999 level 1999" in _line(lines, "level 1999")
    assert "█" in _line(lines, "level 1999")
    assert lines[-1].startswith("█ on the critical path   ░ beside it")


def test_the_legend_explains_only_what_is_drawn() -> None:
    assert _draw(_tree(_span("root", None, 0, 9)))[-1] == "█ on the critical path"


def test_names_that_a_terminal_would_obey_are_shown_and_change_nothing() -> None:
    lines = _draw(_tree(_span("a\nb\x1b[31m\u202e[red]", None, 0, 9), _span("next", None, 10, 11)), 120)
    assert lines[2].startswith(r"a\nb\x1b[31m\u202e[red]")
    assert lines[3].startswith("next")


def test_figures_after_a_name_from_right_to_left_are_kept_from_turning_around() -> None:
    lines = _draw(_tree(_span("שלום", None, 0, 9), _span("plain", None, 0, 9)))
    assert lines[2].startswith(f"{LRM}שלום{LRM}")
    assert LRM not in _line(lines, "plain")
    assert cell_len(lines[2]) == cell_len(_line(lines, "plain"))


def test_a_span_without_a_name_says_so() -> None:
    assert "(no name)" in _draw(_tree(_span("", None, 0, 9)))[2]


def test_an_output_without_unicode_gets_plain_characters(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    out = Console(width=80)
    failed = [_span(f"{n}", "root", n, 1 + n, is_error=True) for n in range(5)]
    tree = _tree(_span("root", None, 0, 100), _span("x" * 99, "root", 50, 50, is_slow=True), *failed)
    print_waterfall(out, tree, choose_rows(tree, 5))
    out.file.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert "#" in _line(lines, "root")
    assert "`-.. 2 more, 1 failed" in _line(lines, "more")
    assert max(map(len, lines)) <= 80


_NAMES = st.sampled_from(
    ["load", "x" * 90, "日本語のとても長い名前のスパン", "שלום עולם", "a\x1b[31m\nb", "", "é" * 30, "👩 👧"]
)


@given(
    st.lists(
        st.tuples(_NAMES, st.integers(-1, 8), st.integers(0, 60), st.integers(0, 60), _NAMES), min_size=1, max_size=12
    ),
    st.integers(40, 200),
    st.integers(0, 5),
)
def test_no_line_is_wider_than_the_console_and_every_bar_begins_in_the_same_column(spans, width, spans_max) -> None:
    tree = _tree(
        *(
            _span(
                name,
                f"{parent}" if parent >= 0 else None,
                start,
                end,
                service,
                span_id=f"{number}",
                is_slow=end % 3 == 0,
            )
            for number, (name, parent, start, end, service) in enumerate(sorted(spans, key=lambda each: each[2]))
        )
    )
    lines = _draw(tree, width, spans_max)
    assert all(cell_len(line) <= width for line in lines)
    assert all(char.isprintable() or char == LRM for line in lines for char in line)
    start = cell_len(lines[1][: lines[1].index("┴")])
    for line in lines[2 : 2 + len(choose_rows(tree, spans_max))]:
        bar = line.rstrip().split(" ")[-1]
        assert cell_len(line.rstrip()) - cell_len(bar) >= start
        assert set(bar) <= set("█░│┄")
