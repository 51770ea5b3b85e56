from __future__ import annotations

from collections import deque

from otel_perfmon.storage.scales import QUEUE_BYTES_MAX, UNWEIGHED_MAX, Scales, weight_of


def scales_of(weights: list[int]) -> tuple[Scales, deque[int], list[int]]:
    """Scales over a queue of one place an entry, which is its weight; and how many were weighed each time."""
    queue: deque[int] = deque(weights)
    calls: list[int] = []

    def weigh(entries: list[int]) -> int:
        calls.append(len(entries))
        return sum(entries)

    return Scales(queue, 1, weigh, 1), queue, calls


def test_each_entry_is_weighed_once_however_often_one_asks():
    scales, queue, calls = scales_of([1] * 100)
    assert [scales.weigh(), scales.weigh()] == [100, 100]
    queue.extend([2] * 10)
    assert scales.weigh() == 120
    assert calls == [100, 10]


def test_what_was_taken_weighs_nothing_any_more():
    scales, queue, _ = scales_of([4] * 10)
    scales.weigh()
    for _ in range(4):
        queue.popleft()
    scales.taken_count += 4
    assert scales.weigh() == 24


def test_what_was_taken_unnoticed_is_noticed():
    scales, queue, _ = scales_of([4] * 10)
    scales.weigh()
    queue.clear()
    queue.extend([3, 3])
    assert scales.weigh() == 6


def test_there_is_room_for_some_hundred_light_entries_for_few_heavy_ones_and_for_one_always():
    assert scales_of([])[0].room_count() == UNWEIGHED_MAX
    assert scales_of([100] * 50)[0].room_count() == 50 + UNWEIGHED_MAX
    assert scales_of([1 << 20] * 2)[0].room_count() == 2 + QUEUE_BYTES_MAX // (4 << 20)
    assert scales_of([QUEUE_BYTES_MAX])[0].room_count() == 0


def test_a_value_weighs_about_what_it_takes_and_deep_ones_are_not_walked_through():
    assert weight_of("x" * 1_000_000) >= 1_000_000
    assert weight_of({"a": ["x" * 10_000] * 10}) >= 100_000
    assert weight_of(["x" * 100] * 1_000_000) > 50_000_000
    itself: list = []
    itself += [itself] * 3
    assert weight_of(itself) > 0


def test_entries_that_hold_nothing_beside_themselves_are_not_looked_into():
    queue: deque[str | None] = deque(["a", None] * 100)
    scales = Scales(queue, 2, lambda entries: 1_000 * len(entries), 7)
    assert scales.weigh() == 700
    queue.extend(["a", "held"])
    assert scales.weigh() == 700 + 2_000
