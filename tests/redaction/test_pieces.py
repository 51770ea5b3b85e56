from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from otel_perfmon.redaction.pieces import find_plain, pieces_of, pieces_of_json

texts = st.text(st.sampled_from('ab\\\\nrtu0"\n\r\t\b\f\x1b é\ud800/'), max_size=40)


@given(texts | st.text(), st.booleans())
@example("C:\\token=x", False)
@example('say "x" \\', True)
def test_the_pieces_of_json_are_those_of_the_text_in_it(text, is_ascii):
    encoded = json.dumps(text, ensure_ascii=is_ascii)
    expected = [piece.encode("utf-16", "surrogatepass") for piece in pieces_of(text.replace("\0", "\1"))]
    found = [piece.encode("utf-16", "surrogatepass") for piece in pieces_of_json(encoded)]
    assert found == [found[0], *expected, found[0]]
    assert found[0] == "".encode("utf-16")


def test_backslashes_are_escapes_where_a_text_begins_as_json_does():
    assert find_plain(['{"a":"\\n"}', "C:\\token", '[{"a":"\\n"}]', "{'a': '\\n'}", "none", "", "a\0b"]) == [1, 3, 6]
