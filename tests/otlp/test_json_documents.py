"""Documents of JSON are told from each other, over whichever lines they go, and a line that is cut from all of them."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.otlp import files
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.files import decode_file
from otel_perfmon.otlp.json_documents import JsonLines

FORMS = (None, 0, 1, 2, "\t")
ODD_NAMES = ("}", "{", '"', "\\", "a\nb", "]}\n{", "\ud7ff", "")


def document(number: int, name: str = "", indent: object = None) -> str:
    span = {"traceId": "ab" * 16, "spanId": f"{number:016x}", "name": f"{number}{name}", "attributes": []}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}, indent=indent, ensure_ascii=False)


def read(text: str) -> list[tuple[str, list[str], str]]:
    pieces = decode_file(io.BufferedReader(io.BytesIO(text.encode())), SpanDecoder(10**9))
    return [(piece.place, [row.name for row in piece.rows], str(piece.error or "")) for piece in pieces]


def names_in(text: str) -> list[str]:
    return [name for _, names, _ in read(text) for name in names]


def errors_in(text: str) -> list[tuple[str, str]]:
    return [(place, error) for place, _, error in read(text) if error]


@given(st.lists(st.tuples(st.sampled_from(FORMS), st.sampled_from(ODD_NAMES)), max_size=6))
def test_documents_of_any_layout_are_read_one_after_the_other(forms):
    text = "\n".join(document(number, name, indent) for number, (indent, name) in enumerate(forms, 1))
    assert errors_in(text) == []
    assert names_in(text) == [f"{number}{name}" for number, (_, name) in enumerate(forms, 1)]


def test_documents_over_many_lines_are_told_by_them_and_may_follow_each_other_on_one():
    both = document(1, indent=2) + "\n\n" + document(2, indent=2) + document(3) + "\n" + document(4)
    lines = both.split("\n")
    middle = lines.index("", 1)
    assert [(place, names) for place, names, _ in read(both)] == [
        (f"lines 1 to {middle}", ["1"]),
        (f"lines {middle + 2} to {len(lines) - 1}", ["2"]),
        (f"line {len(lines) - 1}", ["3"]),
        (f"line {len(lines)}", ["4"]),
    ]


@given(st.data())
def test_wherever_a_line_is_cut_it_is_named_and_the_others_are_read(data):
    line = document(9, "x")
    cut = line[: data.draw(st.integers(1, len(line) - 1))]
    before, behind = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 3))
    indent = data.draw(st.sampled_from((None, 2)))
    good = [document(number, indent=indent) for number in range(1, before + behind + 1)]
    text = "\n".join([*good[:before], cut, *good[before:]])
    assert names_in(text) == [str(number) for number in range(1, before + behind + 1)]
    ((place, _),) = errors_in(text)
    assert place == f"line {sum(each.count(chr(10)) + 1 for each in good[:before]) + 1}"


def test_the_place_where_a_line_is_cut_is_that_of_its_end():
    cut = document(1)[:-3]
    told = f"This is no JSON: Expecting ',' delimiter: line 2 column {len(cut) + 1}."
    assert errors_in("\n".join([document(2), cut, document(3)])) == [("line 2", told)]


def test_a_document_that_is_broken_is_one_place_and_what_follows_is_read():
    lines = document(1, indent=2).split("\n")
    broken = "\n".join([*lines[:5], "oops", *lines[5:]])
    text = "\n".join([broken, document(2, indent=2), "\n".join(lines[:-3])])
    (first, error), (last, end) = errors_in(text)
    assert first == f"lines 1 to {len(lines) + 1}"
    assert error.endswith(": line 6 column 1.")
    assert (last, end) == (f"lines {2 * len(lines) + 2:,} to {3 * len(lines) - 2:,}", "The file ends within it.")
    assert names_in(text) == ["2"]


def test_a_line_behind_a_broken_document_that_begins_with_space_is_read():
    assert names_in(document(1)[:-3] + "\nnonsense\n  " + document(2)) == ["2"]


WIDE = '{"a":[' + "0," * 500 + "\n"


@pytest.mark.parametrize(
    ("line", "count"),
    [('{"a":[\n', 100_000), ("[\n", 100_000), ('{"resourceSpans":[\n', 100_000), (WIDE, 200)],
    ids=["objects", "arrays", "resources", "wide"],
)
def test_lines_that_nest_for_ever_are_told_and_what_is_parsed_of_them_stays_small(line, count, monkeypatch):
    looked_bytes = []
    loads = json.JSONDecoder().raw_decode
    monkeypatch.setattr(
        "otel_perfmon.otlp.json_documents._raw_decode",
        lambda text, at: (looked_bytes.append(len(text)), loads(text, at))[1],
    )
    text = line * count
    assert errors_in(text) != []
    assert sum(looked_bytes) < 60 * len(text)


def test_a_document_that_is_too_large_is_told_and_the_next_is_read(monkeypatch):
    monkeypatch.setattr(files, "MESSAGE_BYTES_MAX", 2_000)
    large = json.dumps({"resourceSpans": [], "more": ["x" * 50] * 90}, indent=1)
    held = []
    take = JsonLines.take
    monkeypatch.setattr(JsonLines, "take", lambda lines: (held.append(len(lines._back)), take(lines))[1])
    text = f"{document(1)}\n{large}\n{document(2, indent=2)}\n{document(3)}"
    last = 1 + large.count("\n") + 1
    assert errors_in(text) == [(f"lines 2 to {last}", "It has more than 2,000 bytes.")]
    assert names_in(text) == ["1", "2", "3"]
    assert max(held) < 50
