from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from otel_perfmon import OperationStats, quantities
from otel_perfmon.cli import report


def _stats(operation: str = "load_cart", *, count: int = 1_790, errors: int = 0, slow: int = 0) -> OperationStats:
    return OperationStats(
        operation, None, count, errors, errors / count, slow, 1.0, 0.0, 9.0, 5.5, 6.0, 60.9, 70.0, 27_500.0, 525.0,
        None, None, None,
    )  # fmt: skip


def _errors(stats: OperationStats) -> Text:
    return Text(f"{stats.error_count} ({quantities.share(stats.error_rate)})", "red" if stats.error_count else "")


COLUMNS = [
    report.Column("Operation", lambda stats: report.name_text(stats.operation), is_text=True),
    report.Column("Calls", lambda stats: Text(quantities.count(stats.count))),
    report.Column("Errors", _errors),
    report.Column("Slow", lambda stats: Text(str(stats.slow_count), "yellow" if stats.slow_count else ""), rank=2),
    report.Column("Median", lambda stats: Text(report.duration(stats.p50_ms)), rank=5),
    report.Column("p95", lambda stats: Text(report.duration(stats.p95_ms)), rank=3),
    report.Column("Longest", lambda stats: Text(report.duration(stats.max_ms)), rank=6),
    report.Column("Total", lambda stats: Text(report.duration(stats.total_ms)), rank=1),
    report.Column("Self", lambda stats: Text(report.duration(stats.self_ms)), rank=4),
]


def _print_operations(width: int, *rows: OperationStats, **console) -> list[str]:
    file = io.StringIO()
    out = Console(file=file, width=width, **console)
    report.print_table(out, COLUMNS, rows)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.0, "0 µs"),
        (0.000001, "1.00 ns"),
        (0.000321, "321 ns"),
        (0.0000001, "0.1 ns"),
        (0.00999, "9.99 µs"),
        (0.0612, "61.2 µs"),
        (0.99949, "999 µs"),
        (0.9996, "1.00 ms"),
        (6.214, "6.21 ms"),
        (61.24, "61.2 ms"),
        (455.4, "455 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (25_149.0, "25.1 s"),
        (3_600_000.0, "3,600 s"),
        (9_996_000.0, "2.78 h"),
        (360_000_000_000.0, "100,000 h"),
        (None, "-"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_suits_it(milliseconds, text) -> None:
    assert report.duration(milliseconds) == text


def test_data_is_shown_as_it_is_and_does_nothing_to_the_terminal() -> None:
    text = report.printable("[red]naïve[/red]\x1b[31m\n\ud800")
    assert text.plain == "[red]naïve[/red]\\x1b[31m\\n\\ud800"
    assert text.spans == []


def test_an_operations_name_is_no_markup() -> None:
    assert any(line.startswith("[bold]x[/bold]") for line in _print_operations(100, _stats("[bold]x[/bold]")))


def test_a_file_gets_no_control_sequences() -> None:
    lines = _print_operations(100, _stats(errors=900, slow=3))
    assert "\x1b" not in "".join(lines)


def test_errors_are_red_and_slow_calls_yellow_on_a_terminal() -> None:
    *_, clean, bad = _print_operations(
        100,
        _stats("clean"),
        _stats("bad", errors=2, slow=3),
        force_terminal=True,
        color_system="standard",
        no_color=False,
    )
    assert "\x1b" not in clean
    assert "\x1b[31m" in bad
    assert "\x1b[33m" in bad


def test_numbers_stand_one_under_the_other_at_their_last_digit() -> None:
    heading, _, first, second = _print_operations(100, _stats(count=5), _stats(count=12_345))
    end = heading.index("Calls") + len("Calls")
    assert first[end - 1] == "5"
    assert second[:end].endswith("12,345")


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (100, "Operation Calls Errors Slow Median p95 Longest Total Self"),
        (55, "Operation Calls Errors Slow p95 Total"),
        (40, "Operation Calls Errors Total"),
    ],
)
def test_a_narrow_table_has_fewer_columns_rather_than_cut_numbers(width, headings) -> None:
    heading, *_, row = lines = _print_operations(width, _stats(errors=17, slow=94))
    assert heading.split() == headings.split()
    assert "17 (0.95%)" in row
    assert max(map(len, lines)) <= width


def test_long_text_is_folded_and_nothing_of_it_is_lost() -> None:
    message = "leading zeros in decimal integer literals are not permitted; use an 0o prefix for octal integers"
    file = io.StringIO()
    columns = [
        report.Column("Type", lambda _: Text("SyntaxError"), is_text=True),
        report.Column("Message", report.printable, is_text=True),
    ]
    report.print_table(Console(file=file, width=60), columns, [message])
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    start = lines[0].index("Message")
    assert " ".join(line[start:].strip() for line in lines[2:]) == message


def test_a_table_without_rows_is_its_heading() -> None:
    assert _print_operations(100)[0].startswith("Operation")


def test_a_name_of_usual_length_is_not_folded_to_make_room_for_columns_that_matter_less() -> None:
    name = "GET /customers/{customer_id}"
    heading, _, row = _print_operations(90, _stats(name))
    assert row.startswith(name)
    assert "Longest" not in heading


def test_no_line_ends_in_blanks() -> None:
    assert all(line == line.rstrip() for line in _print_operations(100, _stats("a"), _stats("two words " * 9)))


def test_where_even_the_least_is_too_wide_texts_give_way_and_no_line_is_too_long() -> None:
    columns = [report.Column(str(n), report.printable, is_text=True) for n in range(6)]
    file = io.StringIO()
    report.print_table(Console(file=file, width=80), columns, ["x" * 40, "y"])
    assert max(map(len, file.getvalue().splitlines())) <= 80
    assert file.getvalue().count("x") == 240


def test_columns_that_were_dropped_come_back_where_they_fit() -> None:
    """The widest goes with the least rank it has; what is narrower than the room it leaves is there again."""
    columns = [
        report.Column("Name", report.printable, is_text=True),
        report.Column("Wide", lambda _: Text("w" * 40), rank=1),
        report.Column("Narrow", report.printable, rank=2),
    ]
    file = io.StringIO()
    report.print_table(Console(file=file, width=40), columns, ["x"])
    assert file.getvalue().split()[:2] == ["Name", "Narrow"]


@pytest.mark.parametrize(("color_system", "is_colored"), [("standard", False), ("256", True), ("truecolor", True)])
def test_pictures_have_no_colour_where_a_light_terminal_would_show_it_as_white(color_system, is_colored) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=color_system, no_color=False)
    assert bool(report.ink(console)) is is_colored


def test_text_from_right_to_left_keeps_its_place_among_others_also_when_it_is_folded_or_cut() -> None:
    mark = "\N{LEFT-TO-RIGHT MARK}"
    assert report.printable("שלום").plain == f"{mark}שלום{mark}"
    assert report.printable("שלום").cell_len == 4
    short = report.cropped(report.printable("שלום" * 9), 10)
    assert short.plain.endswith(f"{mark}…")
    assert short.cell_len == 10
    file = io.StringIO()
    columns = [report.Column("Name", report.printable, is_text=True), report.Column("Number", lambda _: Text("5"))]
    report.print_table(Console(file=file, width=40), columns, ["שלום " * 20])
    assert all(line.count(mark) >= 2 for line in file.getvalue().splitlines()[2:])


def test_what_an_output_without_unicode_lacks_is_replaced_before_it_is_laid_out(monkeypatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert report.duration(0.05) == "50.0 us"
    assert report.printable("größe").plain == "gr\\xf6\\xdfe"
    assert report.cropped(Text("x" * 20), 10).plain == "xxxxxxxx.."
    assert report.printable("שלום").plain.isascii()
