from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.storage.generations import Generations


def test_what_was_set_is_found_and_what_was_not_is_none():
    memory = Generations(2)
    memory.set("a", 1)
    assert memory.get("a") == 1
    assert memory.get("b") is None


def test_as_many_later_ones_as_its_size_do_not_displace_a_value():
    for before in range(6):
        memory = Generations(5)
        for i in range(before):
            memory.set(f"before{i}", 0)
        memory.set("a", 1)
        for i in range(5):
            memory.set(f"after{i}", 0)
        assert memory.get("a") == 1


def test_it_never_holds_more_than_two_generations():
    memory = Generations(10)
    for i in range(1000):
        memory.set(i, i)
        assert len(memory._young) + len(memory._old) <= 20
    assert memory.get(0) is None
    assert memory.get(999) == 999


def test_what_is_asked_for_stays():
    memory = Generations(5)
    memory.set("a", 1)
    for i in range(100):
        memory.set(i, i)
        assert memory.get("a") == 1


def test_what_is_taken_out_is_gone():
    memory = Generations(1)
    memory.set("a", 1)
    memory.set("b", 2)
    assert memory.pop("a") == 1
    assert memory.pop("a") is None
    assert memory.get("a") is None


def test_what_is_taken_out_is_gone_although_it_was_set_in_both_generations():
    memory = Generations(1)
    memory.set("a", "old")
    memory.set("a", "new")
    assert memory.pop("a") == "new"
    assert memory.get("a") is None


steps = st.tuples(st.sampled_from(("get", "set", "pop")), st.integers(0, 8), st.integers(1, 99))


@given(st.lists(steps, max_size=60), st.integers(1, 4))
def test_it_answers_as_a_dict_does_or_with_none(steps, size_max):
    memory, model = Generations(size_max), {}
    for step, key, value in steps:
        if step == "set":
            memory.set(key, value)
            model[key] = value
        elif step == "get":
            assert memory.get(key) in (None, model.get(key))
        else:
            assert memory.pop(key) in (None, model.pop(key, None))
