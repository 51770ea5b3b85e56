from __future__ import annotations

import json
import re
import time

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags

from otel_perfmon import SQLiteSpanExporter, TimeOrderedIdGenerator, open_store
from otel_perfmon.cli.main import main

MS = 10**6
EVIL = "\x1b[31mred\u202e\nnext [bold]"


class _Program:
    """Records spans at times of its choosing, in milliseconds from its start; each with its own end."""

    def __init__(self, db_path: str, service: str = "shop") -> None:
        self.origin = (time.time_ns() // 10**9 - 60) * 10**9
        self.provider = TracerProvider(
            resource=Resource({"service.name": service}), id_generator=TimeOrderedIdGenerator()
        )
        self.provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db_path)))
        self.tracer = self.provider.get_tracer("test")

    def span(self, name, start_ms, end_ms, parent=None, *, error=None, **more):
        context = (
            trace.set_span_in_context(parent) if parent is not None else trace.set_span_in_context(trace.INVALID_SPAN)
        )
        span = self.tracer.start_span(name, context, start_time=self.origin + round(start_ms * MS), **more)
        if error is not None:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        span.end(self.origin + round(end_ms * MS))
        return span


def _id_of(span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


@pytest.fixture
def program(db_path, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_PATH", db_path)
    program = _Program(db_path)
    yield program
    program.provider.shutdown()


@pytest.fixture
def show(program, capsys, monkeypatch):
    """Run the command and give what it printed; it must have the expected exit status."""

    def run(*arguments: str, status: int = 0, width: int = 100) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        program.provider.force_flush()
        assert main(["trace", *arguments]) == status
        printed = capsys.readouterr()
        assert bool(printed.err) == (status != 0)
        return printed.err if status else printed.out

    return run


@pytest.fixture
def checkout(program):
    """A trace with an error that went up through its parents, and an older one of another operation."""
    program.span("warm_up", -500, -100)
    attributes = {"user.id": "u-1", "cart.items": (1, 2), "raw": b"x", "text": EVIL}
    root = program.span("checkout", 0, 300, error=ValueError("no money\nat all"), attributes=attributes)
    charge = program.span("charge", 50, 250, root, error=ValueError("no money\nat all"))
    program.span("gateway", 60, 240, charge, error=KeyError("account"))
    return root


# --- which trace


def test_a_trace_is_shown_by_its_id(show, checkout) -> None:
    for name in (_id_of(checkout), _id_of(checkout).upper(), f"0x{_id_of(checkout)}"):
        text = show(name)
        assert text.startswith(f"Trace {_id_of(checkout)}\n")
        assert all(word in text for word in ("checkout", "charge", "gateway", "3 spans", "3 errors", "service shop"))
        assert "warm_up" not in text


def test_the_first_digits_of_an_id_are_enough_if_no_other_trace_begins_with_them(show, checkout) -> None:
    assert show(_id_of(checkout)[:31]).startswith(f"Trace {_id_of(checkout)}")


def test_if_several_traces_begin_with_the_digits_they_are_named(show, program) -> None:
    ids = [_id_of(program.span("load", number, number + 1)) for number in range(10)]
    shared = next(ids[0][:length] for length in range(31, 3, -1) if len({each[:length] for each in ids}) == 1)
    told = show(shared, status=2)
    assert f"Several traces begin with {shared}" in told
    assert sorted(name for name in ids if name in told) == sorted(ids)[:8]
    assert "and more" in told


def test_last_is_the_trace_that_ended_last(show, program, checkout) -> None:
    assert _id_of(checkout) in show("last")
    later = program.span("later", 400, 500)
    assert _id_of(later) in show("last")


def test_last_of_a_service_or_a_window_is_the_last_in_there(show, program, checkout, db_path) -> None:
    other = _Program(db_path, "mailer")
    mail = other.span("mail", 1000, 2000)
    other.provider.shutdown()
    assert _id_of(mail) in show("last")
    assert _id_of(checkout) in show("last", "--service", "shop")
    assert _id_of(mail) in show("last", "--window", "1h")
    show("last", "--window", "1s", status=3)


def test_slowest_is_the_trace_of_the_slowest_span_of_the_operation_and_shows_its_attributes(show, program) -> None:
    program.span("load", 0, 10)
    root = program.span("nightly", 100, 900)
    slow = program.span("load", 100, 800, root, attributes={"file": "big.csv"})
    program.span("load", 1000, 1020)
    text = show("slowest", "load")
    assert _id_of(slow) in text
    assert "of load" in text
    assert "big.csv" in text


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["slowest"], 2, "Of which operation?"),
        (["last", "load"], 2, "goes with 'slowest' only"),
        (["0199", "--window", "1h"], 2, "go with 'last' and 'slowest'"),
        (["0199", "--service", "shop"], 2, "go with 'last' and 'slowest'"),
        (["019"], 2, "At least 4 digits"),
        (["checkout"], 2, "A trace is named by its id"),
        (["1" * 33], 2, "A trace is named by its id"),
        ([""], 2, "A trace is named by its id"),
        (["fffffff"], 3, "No trace begins with fffffff"),
        (["f" * 32], 3, "There is no trace"),
        (["slowest", EVIL], 3, "There is no operation"),
        (["slowest", "chekout"], 3, "did you mean 'checkout'?"),
        (["slowest", "a", "b"], 2, "put a name with blanks in quotes"),
        (["slowest", "checkout", "--service", "nobody"], 3, "There is no service 'nobody'"),
        (["last", "--limit", "-1"], 2, "whole number of 0 or more"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(show, checkout, arguments, status, told) -> None:
    text = show(*arguments, status=status)
    assert told in text
    assert "\x1b" not in text


def test_an_empty_store_has_no_last_trace(db_path, program, show) -> None:
    program.span("one", 0, 1)
    with open_store(db_path) as store:
        store.delete_spans_before(time.time() + 3600)
    assert "No span was found" in show("last", status=3)


# --- what is shown


def test_the_head_says_when_it_started_how_long_it_took_and_how_many_spans_failed(show, checkout) -> None:
    head = show("last").splitlines()[1]
    assert "300 ms, 3 spans, 3 errors, service shop" in head
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.000, ", head)


def test_each_error_is_told_once_with_the_spans_it_went_through_the_first_one_first(show, checkout) -> None:
    lines = show("last").splitlines()
    errors = lines[lines.index("Errors") + 1 : lines.index("Errors") + 5]
    assert [line.rstrip() for line in errors] == [
        "! KeyError: 'account'",
        "  in gateway",
        r"! ValueError: no money\nat all",
        "  in charge, checkout",
    ]
    assert "Traceback" not in "".join(lines)


def test_an_error_that_only_the_child_recorded_as_an_event_is_told_once(show, program) -> None:
    root = program.tracer.start_span("root", start_time=program.origin, attributes={"error.type": "ValueError"})
    root.set_status(StatusCode.ERROR, "no money")
    program.span("child", 1, 8, root, error=ValueError("no money"))
    root.end(program.origin + 9 * MS)
    text = show("last")
    assert text.count("! ValueError: no money\n  in child, root\n") == 1
    assert text.count("no money") == 1


@pytest.mark.parametrize("place", [1, 2, 3])
def test_options_may_stand_anywhere_among_the_words(show, program, checkout, place) -> None:
    words = ["slowest", "checkout"]
    words[place - 1 : place - 1] = ["--window", "1h"]
    assert _id_of(checkout) in show(*words)
    assert "unrecognized arguments: --nonsense" in show(*words, "--nonsense", status=2)


def test_an_operation_without_a_name_has_a_slowest_span_too(show, program) -> None:
    span = program.span("", 0, 10)
    text = show("slowest", "")
    assert _id_of(span) in text
    assert "(no name)" in text


def test_full_shows_stack_traces_with_their_lines(show, program) -> None:
    root = program.span("root", 0, 9)
    try:
        raise RuntimeError(EVIL)  # noqa: TRY301 - for its stack trace
    except RuntimeError as error:
        program.span("failing", 1, 8, root, error=error)
    text = show("last", "--full")
    assert "    Traceback (most recent call last):\n" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_an_error_without_a_message_is_told_too(show, program) -> None:
    span = program.tracer.start_span("quiet", start_time=program.origin)
    span.set_status(StatusCode.ERROR)
    span.end(program.origin + MS)
    assert "! failed, and does not say why" in show("last")


def test_a_status_message_that_says_more_than_the_exception_is_told_with_it(show, program) -> None:
    span = program.tracer.start_span("charge", start_time=program.origin)
    span.record_exception(ValueError("no"))
    span.set_status(StatusCode.ERROR, "payment refused")
    span.end(program.origin + MS)
    assert "! ValueError: no (payment refused)" in show("last")


def test_the_attributes_of_the_root_are_shown_and_do_nothing_to_the_terminal(show, checkout) -> None:
    text = show("last")
    attributes = text[text.index("Attributes  of checkout") :].splitlines()[1:]
    assert [line.split(maxsplit=1) for line in map(str.rstrip, attributes)] == [
        ["user.id", "u-1"],
        ["cart.items", "[1, 2]"],
        ["raw", '{"@bytes": "eA=="}'],
        ["text", r"\x1b[31mred\u202e\nnext [bold]"],
    ]


def test_many_and_long_attributes_are_cut_and_full_shows_them(show, program) -> None:
    program.span("wide", 0, 1, attributes={**{f"key.{n}": n for n in range(30)}, "key.1": "y" * 1000})
    text = show("last")
    assert "700 more characters; --full shows them" in text
    assert "and 10 more; --full shows them" in text
    assert "key.29" not in text
    assert "key.29" in show("last", "--full")


def test_attributes_shows_those_of_every_span_with_events_links_and_resources(show, program) -> None:
    link = Link(SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1)), {"why": "batch"})
    root = program.span("root", 0, 9)
    span = program.tracer.start_span("child", trace.set_span_in_context(root), start_time=program.origin, links=[link])
    span.set_attribute("rows", 7)
    span.add_event("retry", {"attempt": 2}, timestamp=program.origin + 3 * MS)
    span.end(program.origin + 8 * MS)
    text = show("last", "--attributes")
    for words in ("child  +0 µs, internal, span ", "rows  7", "+3.00 ms event retry", "attempt  2", "why  batch"):
        assert words in text
    assert f"link to span {0xDEF:016x} of trace {0xABC:032x}" in text
    assert text.count("Resource  shop") == 1
    assert "service.name  shop" in text


def test_a_long_trace_shows_what_matters_most_and_says_that_there_is_more(show, program) -> None:
    root = program.span("batch", 0, 1000)
    for number in range(150):
        program.span(f"item {number}", number, number + 1, root, error=ValueError("x") if number == 77 else None)
    text = show("last")
    assert "100 of 151 spans are shown; --limit 0 shows all." in text
    assert "… 51 more" in text
    assert "item 77" in text
    assert "more" not in show("last", "--limit", "0")
    assert sum("item" in line for line in show("last", "--limit", "3").splitlines()) == 3  # two rows, one in Errors


@pytest.mark.parametrize("width", [80, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal(show, checkout, width) -> None:
    assert max(map(len, show("last", "--attributes", "--full", width=width).splitlines())) <= width


# --- JSON


def test_json_has_every_span_in_the_order_of_the_tree_with_its_place_and_times(show, checkout) -> None:
    answer = json.loads(show("last", "--json", "--limit", "1"))
    assert (answer["command"], answer["is_complete"], answer["window"]) == ("trace", True, None)
    items = answer["items"]
    assert [(item["name"], item["depth"]) for item in items] == [("checkout", 0), ("charge", 1), ("gateway", 2)]
    assert [item["self_ms"] for item in items] == [100.0, 20.0, 180.0]
    assert [item["critical_ms"] for item in items] == [100.0, 20.0, 180.0]
    assert [item["parent_span_id"] for item in items] == [None, items[0]["span_id"], items[1]["span_id"]]
    assert {(item["is_orphan"], item["is_in_cycle"], item["skew_ms"]) for item in items} == {(False, False, 0.0)}
    assert items[0]["attributes"]["raw"] == {"@bytes": "eA=="}
    assert items[0]["attributes"]["text"] == EVIL
    assert items[0]["duration_ms"] == 300.0


def test_json_says_which_window_was_searched(show, checkout) -> None:
    assert json.loads(show("last", "--json", "--window", "1h"))["window"]["end"].endswith("Z")
