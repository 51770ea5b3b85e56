from __future__ import annotations

import pytest

from otel_perfmon.bench.figures import Figure, Goal, Spread, unmeasured


def test_a_spread_is_the_median_with_its_quartiles() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(3, 2, 4)


def test_the_spread_of_one_value_is_that_value() -> None:
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal(0.5, 0.3), 0.3, "aim"),
        (Goal(0.5, 0.3), 0.5, "must"),
        (Goal(0.5, 0.3), 0.51, "missed"),
        (Goal(50, 150, is_at_least=True), 150, "aim"),
        (Goal(50, 150, is_at_least=True), 50, "must"),
        (Goal(50, 150, is_at_least=True), 49, "missed"),
        (Goal(0.1), 0.0, "must"),
    ],
)
def test_a_goal_is_met_up_to_its_bound(goal, value, verdict) -> None:
    assert goal.judge(value) == verdict


def test_a_ratio_is_judged_before_a_value() -> None:
    value, ratio = Spread.of([20.0]), Spread.of([0.4])
    assert Figure("a", "a", "us", value, ratio, "R", Goal(0.5)).verdict == "must"
    assert Figure("a", "a", "us", value, goal=Goal(0.5)).verdict == "missed"


def test_what_was_not_measured_or_has_no_goal_is_not_judged() -> None:
    assert Figure("a", "a", "us", Spread.of([1.0])).verdict is None
    assert unmeasured("a", "a", "us", "not installed").verdict is None
