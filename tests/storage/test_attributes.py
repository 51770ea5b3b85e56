from __future__ import annotations

import json
import math
import sqlite3
import sys
import time
from collections import OrderedDict, UserDict
from collections.abc import Sequence
from contextlib import closing
from enum import Enum, IntEnum
from itertools import pairwise
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.storage import attributes as module
from otel_perfmon.storage.attributes import (
    DEPTH_MAX,
    JSON_MAX,
    TEXT_MAX,
    Encoded,
    decode_attributes,
    encode_attributes,
    encode_foreign_attributes,
    encode_items,
    safe_str,
    storable_text,
)


def is_pair_of_surrogates(text):
    """JSON can not tell two escaped halves from the whole character."""
    return any("\ud800" <= a <= "\udbff" and "\udc00" <= b <= "\udfff" for a, b in pairwise(text))


texts = st.text(st.characters(), max_size=12).filter(lambda text: not is_pair_of_surrogates(text))
texts |= st.sampled_from(("", "\0", "a\0b", "\ud800", "\udfff x", "@", "@bytes", "@double", '"@', "é\U0001f600", "NaN"))
numbers = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from((-0.0, 2**63, -(2**63), 5e-324, 1.7e308))
scalars = st.none() | st.booleans() | texts | numbers | st.binary(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def strict_json(text):
    def refuse(constant):
        raise AssertionError(constant)

    def unique(pairs):
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


@pytest.fixture(scope="module")
def sqlite():
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


# --- everything OpenTelemetry allows


@given(st.dictionaries(texts, values, max_size=5))
@pytest.mark.parametrize("encode", [encode_attributes, encode_foreign_attributes])
def test_whatever_opentelemetry_allows_comes_back_exactly(encode, attributes):
    encoded = encode(attributes)
    assert (encoded.dropped_count, encoded.is_altered) == (0, False)
    assert same(decode_attributes(encoded.text), attributes)


@given(st.dictionaries(texts, values, max_size=5))
def test_the_text_is_strict_json_that_sqlite_can_store_and_read(sqlite, attributes):
    text = encode_attributes(attributes).text
    assert isinstance(strict_json(text), dict)
    text.encode()
    assert sqlite.execute("SELECT json_valid(?), json_type(?), ?", (text, text, text)).fetchone() == (1, "object", text)


@given(texts.filter(lambda text: text.isalnum() and text.isascii()), st.integers(-(2**63), 2**63 - 1) | st.text("abcé"))
def test_sqlite_extracts_plain_values_as_they_are(sqlite, key, value):
    text = encode_attributes({key: value}).text
    assert sqlite.execute("SELECT json_extract(?, ?)", (text, f"$.{key}")).fetchone() == (value,)


def test_lists_come_back_as_tuples():
    assert decode_attributes(encode_attributes({"a": [1, [2]], "b": []}).text) == {"a": (1, (2,)), "b": ()}


@pytest.mark.parametrize("attributes", [None, {}, MappingProxyType({})])
def test_no_attributes_are_an_empty_object(attributes):
    assert encode_attributes(attributes) == Encoded("{}", 0, is_altered=False)
    assert decode_attributes("{}") == decode_attributes("") == decode_attributes(None) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"hi", '{"x":{"@bytes":"aGk="}}'),
        (math.nan, '{"x":{"@double":"NaN"}}'),
        (-math.inf, '{"x":{"@double":"-Infinity"}}'),
        ({"@bytes": "aGk="}, '{"x":{"@@bytes":"aGk="}}'),
        ("é", '{"x":"é"}'),
        ("\ud800", '{"x":"\\ud800"}'),
    ],
)
def test_the_written_form_is_pinned(value, text):
    assert encode_attributes({"x": value}).text == text


def test_the_order_of_keys_is_kept():
    attributes = dict.fromkeys("zebra@", 1)
    assert list(decode_attributes(encode_attributes(attributes).text)) == list(attributes)


# --- everything else


class Awkward:
    """An object all of whose methods fail."""

    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


class LocalProxy:
    """As in Werkzeug: outside of a request even asking for its class fails."""

    @property
    def __class__(self):
        raise RuntimeError("working outside of request context")


class AwkwardStr(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError


class AwkwardInt(int):
    def __int__(self):
        raise RuntimeError


class AwkwardFloat(float):
    def __float__(self):
        raise RuntimeError


class AwkwardList(list):
    def __iter__(self):
        raise RuntimeError


class AwkwardMapping(UserDict):
    def items(self):
        raise RuntimeError


class Endless(Sequence):
    def __len__(self):
        return 2**62

    def __getitem__(self, index):
        return index


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


def released():
    view = memoryview(b"x")
    view.release()
    return view


FOREIGN = {
    "object": Awkward,
    "class": lambda: Awkward,
    "str": lambda: AwkwardStr("x"),
    "int": lambda: AwkwardInt(1),
    "float": lambda: AwkwardFloat(1),
    "list": lambda: AwkwardList([1]),
    "mapping": lambda: AwkwardMapping({"a": 1}),
    "proxy": LocalProxy,
    "released memory": released,
    "enum": lambda: Colour.RED,
    "int enum": lambda: Level.LOW,
    "set": lambda: {1, 2},
    "complex": lambda: 1j,
    "module": lambda: sys,
    "huge int": lambda: 10**5000,
    "huge negative int": lambda: -(10**5000),
    "odd keys": lambda: {None: 1, 1.5: 2, (1, 2): 3, b"k": 4},
    "ordered dict": lambda: OrderedDict(a=1),
    "bytearray": lambda: bytearray(b"ab"),
    "generator": lambda: (each for each in (1, 2)),
    "huge text": lambda: "x" * 10_000_000,
    "huge bytes": lambda: b"x" * 10_000_000,
    "huge key": lambda: {"x" * 100_000: 1},
    "many lists": lambda: [[]] * 100_000,
}


@pytest.mark.parametrize("encode", [encode_attributes, encode_foreign_attributes])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_value_never_raises_nor_takes_long_and_its_neighbours_are_kept(encode, name):
    value = FOREIGN[name]()
    start = time.monotonic()
    encoded = encode({"before": 1, "foreign": value, "after": 2})
    assert time.monotonic() - start < 2
    found = decode_attributes(encoded.text)
    assert found["before"] == 1
    assert found["after"] == 2
    assert len(encoded.text) < 2 * JSON_MAX
    strict_json(encoded.text)


@pytest.mark.parametrize("make", [AwkwardMapping, lambda: {Awkward(): 1, "a": 2}, lambda: {AwkwardStr("k"): 1}])
def test_awkward_keys_and_mappings_never_raise(make):
    attributes = make()
    strict_json(encode_attributes(attributes).text)
    strict_json(encode_foreign_attributes(attributes).text)


def cycle():
    value = []
    value.append(value)
    return value


def cycle_with_two_arms():
    value = []
    value += [value, value]
    return value


def cycle_of_mappings():
    value = {}
    value["a"] = value["b"] = value
    return value


def laughs():
    """A billion of them: each list holds the one before it ten times."""
    value = ["lol"]
    for _ in range(9):
        value = [value] * 10
    return value


def long_range():
    return range(10**15)


def test_a_value_that_holds_itself_or_much_too_much_is_cut_and_marked_in_a_moment(run_python):
    """Each in a fork, a process of its own, which can be stopped."""
    names = [make.__name__ for make in (cycle, cycle_with_two_arms, cycle_of_mappings, laughs, long_range, Endless)]
    program = f"""
        import os, resource, sys
        sys.path.insert(0, {__file__.rpartition("/")[0]!r})
        import test_attributes as these
        for name in {names!r}:
            if os.fork():
                assert os.wait()[1] == 0, name
                continue
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
            encoded = these.encode_foreign_attributes({{"a": 1, "x": getattr(these, name)(), "z": 2}})
            assert encoded.is_altered
            assert len(encoded.text) <= 2 * these.JSON_MAX
            assert these.decode_attributes(encoded.text)["a"] == 1
            print(name)
            sys.exit()
    """
    assert run_python(program).split() == names


@pytest.mark.parametrize("depth", [5, DEPTH_MAX - 1, DEPTH_MAX + 5, 300, 600, 900, 5_000, 100_000])
def test_any_depth_can_be_read_back_and_what_was_too_deep_is_marked(sqlite, depth):
    value = "deep"
    for _ in range(depth):
        value = [value]
    encoded = encode_attributes({"x": value, "y": 1})
    found = decode_attributes(encoded.text)
    assert found["y"] == 1
    assert encoded.is_altered is (depth > DEPTH_MAX)
    assert sqlite.execute("SELECT json_valid(?)", (encoded.text,)).fetchone() == (1,)


@pytest.mark.parametrize("encode", [encode_attributes, encode_foreign_attributes])
def test_what_is_too_long_is_cut_and_marked(encode):
    encoded = encode({"text": "x" * (TEXT_MAX + 1), "bytes": b"y" * (TEXT_MAX + 1), "k" * (TEXT_MAX + 1): 1})
    text, data, key = decode_attributes(encoded.text).items()
    assert encoded.is_altered
    assert text[1] == "x" * (TEXT_MAX - 1) + "…"
    assert data[1] == b"y" * TEXT_MAX
    assert len(key[0]) == TEXT_MAX


@pytest.mark.parametrize("text", ["x" * TEXT_MAX, "é" * TEXT_MAX, "\0" * TEXT_MAX, "\ud800" * TEXT_MAX])
def test_what_just_fits_is_neither_cut_nor_marked(text):
    encoded = encode_attributes({"text": text})
    assert not encoded.is_altered
    assert decode_attributes(encoded.text) == {"text": text}


def test_attributes_that_do_not_fit_are_dropped_and_counted_and_a_small_one_after_a_large_one_stays():
    attributes = {f"k{i}": "x" * 60_000 for i in range(30)}
    encoded = encode_attributes({**attributes, "last": 1})
    found = decode_attributes(encoded.text)
    assert encoded.is_altered
    assert encoded.dropped_count == 31 - len(found)
    assert 15 <= len(found) <= 18
    assert len(encoded.text) <= JSON_MAX
    assert "last" in found


def test_text_in_any_script_has_the_same_room():
    encoded = encode_attributes({f"k{i}": "語" * 60_000 for i in range(15)})
    assert encoded.dropped_count == 0


def test_two_keys_that_become_one_are_counted():
    encoded = encode_foreign_attributes({1: "a", "1": "b"})
    assert decode_attributes(encoded.text) == {"1": "a"}
    assert (encoded.dropped_count, encoded.is_altered) == (1, True)


# --- events and links


def test_items_keep_their_heads_and_their_attributes():
    items = [
        {"name": "é\ud800", "time_unix_nano": 1, "attributes": encode_attributes({"a": b"\0"})},
        {"name": "", "attributes": Encoded("{}")},
    ]
    encoded = encode_items(items)
    assert strict_json(encoded.text) == [
        {"name": "é\ud800", "time_unix_nano": 1, "attributes": {"a": {"@bytes": "AA=="}}},
        {"name": "", "attributes": {}},
    ]
    assert (encoded.dropped_count, encoded.is_altered) == (0, False)


def test_no_items_are_an_empty_array():
    assert encode_items([]).text == "[]"


def test_items_that_do_not_fit_are_dropped_and_counted():
    item = {"name": "e", "attributes": encode_attributes({"x": "y" * 60_000})}
    encoded = encode_items([item] * 30)
    kept = strict_json(encoded.text)
    assert encoded.dropped_count == 30 - len(kept) > 0
    assert encoded.is_altered
    assert len(encoded.text) <= JSON_MAX


def test_altered_attributes_make_the_list_altered():
    assert encode_items([{"name": "e", "attributes": Encoded("{}", 1, is_altered=True)}]).is_altered


# --- texts


@given(st.text(st.characters()))
def test_a_storable_text_can_be_stored_and_says_whether_it_was_changed(sqlite, text):
    stored, is_changed = storable_text(text, 50)
    assert sqlite.execute("SELECT ?", (stored,)).fetchone() == (stored,)
    assert is_changed is (stored != text)


def test_a_text_that_is_too_long_is_cut_with_an_ellipsis():
    assert storable_text("x" * 11, 10) == ("x" * 9 + "…", True)
    assert storable_text("x" * 10, 10) == ("x" * 10, False)


@pytest.mark.parametrize(("value", "text"), [(None, ("", False)), (5, ("5", True)), ("\ud800", ("\\ud800", True))])
def test_what_is_no_storable_text_becomes_one(value, text):
    assert storable_text(value) == text


@pytest.mark.parametrize("name", FOREIGN)
def test_any_object_has_a_text(name):
    value = FOREIGN[name]()
    assert isinstance(safe_str(value), str)
    assert isinstance(storable_text(value)[0], str)


def test_the_limits_are_those_that_the_documentation_states():
    assert (module.TEXT_MAX, module.JSON_MAX, module.DEPTH_MAX) == (65_536, 1_048_576, 32)
