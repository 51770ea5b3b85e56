"""The quick look passes over no text in which the full look would find a secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perfmon.redaction.finding import find_secrets
from otel_perfmon.redaction.names import weight_of
from otel_perfmon.redaction.redaction import Redaction

CUT = (
    "headers={'session_id': b\"S3CR3Ttwo\"}",
    "{'Cookie': b\"user=S3CR3Tone\"}",
    "[{'name':'password','type':'text','id':'pw-field-number-one','value':\"it's hunter2\"}]",
    'password=`say "x1y2"`',
    "{'password' => 'it\"s'}",
    "{\\'password\\': \\'it\"s\\'}",
    "('password',\n\"it's\")",
    "with\npassword 'it\"s'",
    'auth=(user, "it\'s")',
    'Authorization: Hawk id="dh37", mac="6R4r="',
    'postgresql://ada:s3cr3t@"db"',
    "C:\\token=abc1",
    "password=$x\\ncd",
)
names = st.sampled_from(
    (
        *("password", "passwords", "secret", "session_id", "Cookie", "Authorization", "token", "auth", "api_key"),
        *("x-api-key", "credentials", "pass", "api key", "name", "key", "type", "value", "header", "user", "with"),
    )
)
words = st.sampled_from(
    (
        *("hunter2", "user=S3CR3Tone", "it's hunter2", 'say "x1y2z3w4"', 'a`b"c1d2e3', "l'a\"b1", "$x", "${X}", "none"),
        *("Bearer abc123", 'Hawk id="a", mac="b1"', "MyScheme abcdefg", 'sid="hunter2abc"; Path=/', "x\\ncd", "\\"),
        *("a\nb1c2d3e4", "a\tb", "get_token(request)", "", "5", "<t>", "C:\\token=abc1", "://a:hunter2@", "password"),
    )
)
values = st.recursive(
    words | words.map(str.encode) | st.none() | st.integers(),
    lambda each: st.lists(each, max_size=3) | st.tuples(each, each) | st.dictionaries(names, each, max_size=3),
    max_leaves=6,
)
forms = st.one_of(
    st.dictionaries(names, values, min_size=1, max_size=4).map(repr),
    st.dictionaries(names, values, min_size=1, max_size=2).map(repr).map(repr),
    st.dictionaries(names, values, min_size=1, max_size=3).map(
        lambda given: f"f({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    ),
    st.dictionaries(names, words, max_size=3).map(json.dumps),
    st.builds("[{{'name': {!r}, 'type': 'text', 'id': 'pw-field-number-one', 'value': {!r}}}]".format, names, words),
    st.builds("{}{}{}".format, names, st.sampled_from((": ", " => ", "=", "=\\\n", " ", ":\n  ", "> ")), words),
    st.builds("--{} {!r}".format, names, words),
    st.builds("{}=`{}`".format, names, words),
    st.builds("({!r},\n{!r})".format, names, words),
    st.builds("SET\n{} {!r}".format, names, words),
)
texts = st.lists(forms, min_size=1, max_size=3).map(", ".join)


@settings(deadline=None, max_examples=400)
@given(texts)
def test_every_text_with_a_secret_is_suspected_as_it_is_and_in_json(text):
    event = json.dumps([{"name": "exception", "attributes": {"note": text}}], ensure_ascii=False)
    has_secret = any(find_secrets(text, weight_of))
    assert Redaction().find_suspects([text, event]) == [0, 1] or not has_secret
    assert Redaction().redact_text(text) != text or not has_secret


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(names | words, values, max_size=4))
def test_attributes_that_are_redacted_were_suspected(given):
    attributes = json.dumps(json.loads(json.dumps(given, default=repr)), separators=(",", ":"))
    assert Redaction().find_suspects([attributes]) == [0] or Redaction().redact_json(attributes) is attributes


@pytest.mark.parametrize("text", CUT)
def test_a_value_that_a_piece_does_not_show_is_suspected_whatever_stands_beside_it(text):
    encoded = json.dumps({"note": text})
    assert Redaction().find_suspects([encoded]) == [0]
    assert "[redacted]" in Redaction().redact_json(encoded)
    for other in ('{"a":"b\'"}', '{"note":"\'x\'"}', '{"note":"C:\\\\n"}', "a\0b", "C:\\n"):
        assert 0 in Redaction().find_suspects([encoded, other])
        assert 1 in Redaction().find_suspects([other, text])


@pytest.mark.parametrize("key", ["api key", "secret key", "password again", "API key (new)", "session id"])
def test_an_attributes_name_of_several_words_is_suspected(key):
    attributes = json.dumps({"user": "ada", key: "hunter2"})
    assert Redaction().find_suspects([attributes]) == [0]
    assert json.loads(Redaction().redact_json(attributes)) == {"user": "ada", key: "[redacted]"}


def test_the_users_names_of_several_words_are_suspected():
    assert Redaction(keys=["tax id"]).find_suspects(['{"tax number":"x"}', '{"Tax Id":"x"}']) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "    token = get_token(request)",
        "    return self.session.execute(query)",
        "the session expired",
        "the key is 'x'",
        "the password is wrong",
    ],
)
def test_a_line_that_shows_there_is_no_secret_is_not_suspected(text):
    assert Redaction().find_suspects([text, json.dumps({"note": text})]) == []
