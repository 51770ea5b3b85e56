"""Random programs of spans, as plain values that can be run on any tracer provider: see `runner_kit`."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st
from opentelemetry.trace import SpanKind, StatusCode


class Start(NamedTuple):
    """The arguments of `start_span` and `start_as_current_span`."""

    name: str = "op"
    context: tuple[Any, ...] | None = None
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Any = None
    links: tuple[Any, ...] | None = ()
    start_time: int | None = None
    record_exception: bool = True
    set_status_on_exception: bool = True


class Block(NamedTuple):
    """A span that is current within a block, which may end by an exception."""

    form: str
    start: Start
    end_on_exit: bool
    body: tuple[Any, ...]
    error: str | None


class Within(NamedTuple):
    """Steps within something that is no new span: ``use_span``, ``with span:``, another thread."""

    form: str
    span: int
    flags: tuple[bool, bool, bool]
    body: tuple[Any, ...]
    error: str | None


class Call(NamedTuple):
    """A method of the span with this number, of those started so far."""

    span: int
    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any] | None = None


class Program(NamedTuple):
    sampler: str
    limits: dict[str, int]
    processors: str
    meddler: str
    body: tuple[Any, ...]


def _make(kind: type, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*parts).map(lambda values: kind(*values))


def _start(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Start]:
    return st.fixed_dictionaries(parts).map(lambda values: Start(**values))


class Shown:
    """A value that is no attribute and has a text."""

    def __str__(self) -> str:
        return "shown"


class Hidden:
    """A value that is no attribute and has none."""


class Text(str):
    __slots__ = ()


class Number(int):
    pass


SPECIAL = [
    *("", "x" * 40, "é\u0000\ud800", Text("text"), Number(7), True, False, None, b"", b"\xff", 0, -1, 2**70),
    *(0.0, float("nan"), float("inf"), (), [], {}, [1, "a", None], ("a", 1.5), [[1], ["y" * 40]], {"k": {"l": [1]}}),
    *({"": 1, 5: 2, "k": "z" * 40}, {1, 2}, Shown(), Hidden(), SpanKind.CLIENT, 1j, range(3), bytearray(b"x")),
]
values = st.one_of(st.sampled_from(SPECIAL), st.integers(0, 3), st.sampled_from("abc"))
ODD_KEYS = ["a", "b", "", "é", "perfmon.slow", "error.type", Text("a"), 5, 0, None, b"x", Shown()]
keys = st.one_of(st.sampled_from("abcdef"), st.sampled_from(ODD_KEYS))
mappings = st.one_of(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3)), st.dictionaries(keys, values))
attributes = st.one_of(
    st.none(), mappings, mappings.map(lambda pairs: ("mapping", pairs)), st.sampled_from([[], 5, 0, [("a", 1)]])
)
moments = st.one_of(st.none(), st.integers(1, 9).map(lambda each: each * 10**9), st.sampled_from([0, -1, 2**62]))
names = st.sampled_from(["op", "drop", "record", "sample", "", "é" * 30, Text("text")])
places = st.integers(0, 7)
contexts = st.one_of(
    st.none(),
    st.sampled_from([("empty",), ("current",), ("not a span",), ("other values",), ("invalid",), ("no context",)]),
    st.tuples(st.just("remote"), st.integers(0, 3), st.booleans(), st.booleans()),
    st.tuples(st.just("span"), places),
)
link = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["remote", "invalid", "with trace state", "none"]), st.one_of(st.none(), mappings)),
    st.tuples(st.just("span"), places, st.one_of(st.none(), mappings)),
)
starts = _start(
    name=names,
    context=contexts,
    kind=st.sampled_from(SpanKind),
    attributes=attributes,
    links=st.one_of(st.none(), st.just(()), st.lists(link, max_size=3).map(tuple)),
    start_time=moments,
    record_exception=st.booleans(),
    set_status_on_exception=st.booleans(),
)
plain_starts = _start(name=names, attributes=st.one_of(st.none(), mappings))
errors = st.sampled_from(
    ["ValueError", "Own", "Silent", "KeyboardInterrupt", "StopIteration", "GeneratorExit", "CancelledError", "chained"]
)
maybe_errors = st.one_of(st.none(), st.none(), errors)
codes = st.sampled_from(StatusCode)
texts = st.one_of(st.none(), st.sampled_from(["", "why", "é"]))
statuses = st.one_of(
    st.tuples(codes),
    st.tuples(codes, texts),
    st.tuples(st.tuples(st.just("Status"), codes, texts)),
    st.tuples(st.tuples(st.just("Status"), codes, texts), texts),
    st.tuples(st.sampled_from([None, "OK", 2])),
)
calls = st.one_of(
    _make(Call, places, st.just("set_attribute"), st.tuples(keys, values)),
    _make(Call, places, st.just("set_attributes"), st.tuples(attributes)),
    _make(Call, places, st.just("add_event"), st.tuples(names, attributes, moments)),
    _make(Call, places, st.just("add_link"), link.map(lambda each: (("link", each),))),
    _make(Call, places, st.just("update_name"), st.tuples(names)),
    _make(Call, places, st.just("set_status"), statuses),
    _make(
        Call,
        places,
        st.just("record_exception"),
        errors.map(lambda name: (("error", name),)),
        st.fixed_dictionaries({}, optional={"attributes": attributes, "timestamp": moments, "escaped": st.booleans()}),
    ),
    _make(Call, places, st.just("end"), st.one_of(st.just(()), st.tuples(moments))),
    _make(
        Call, places, st.sampled_from(["is_recording", "get_span_context", "to_json", "start", "__repr__"]), st.just(())
    ),
)
flags = st.tuples(st.booleans(), st.booleans(), st.booleans())


def _longer(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bodies = st.lists(steps, max_size=5).map(tuple)
    return st.one_of(
        _make(
            Block,
            st.sampled_from(["with", "with", "function", "coroutine", "twice"]),
            st.one_of(plain_starts, starts),
            st.sampled_from([True, True, True, False]),
            bodies,
            maybe_errors,
        ),
        _make(Within, st.sampled_from(["use_span", "with span", "thread"]), places, flags, bodies, maybe_errors),
    )


steps = st.recursive(st.one_of(calls, plain_starts, starts), _longer, max_leaves=12)
limits = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "max_events": st.integers(0, 2),
            "max_links": st.integers(0, 2),
            "max_span_attributes": st.integers(0, 3),
            "max_event_attributes": st.integers(0, 2),
            "max_link_attributes": st.integers(0, 2),
            "max_attributes": st.integers(-1, 3),
            "max_attribute_length": st.sampled_from([-1, 0, 2, 30]),
            "max_span_attribute_length": st.sampled_from([-1, 0, 2, 30]),
        },
    ),
)
programs = _make(
    Program,
    st.sampled_from(["default", "on", "off", "parent off", "ratio", "parent ratio", "own", "always record", "raising"]),
    limits,
    st.sampled_from(["synchronous", "concurrent", "own", "none"]),
    st.sampled_from(["none", "on_start", "on_ending", "both"]),
    st.lists(steps, max_size=8).map(tuple),
)
