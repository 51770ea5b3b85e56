from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon import Alert, ConfigError, Window
from otel_perfmon.alerts import CLEARED_SHARE, AlertRule, CallCounts, check_callback, evaluate, is_too_slow

HOUR = Window(0, 3_600 * 10**9)
RULE = AlertRule(0.1)
KEY = ("shop", "charge_card")


def judge(count: int, errors: int, *, since: float | None = None, rule: AlertRule = RULE) -> bool | None:
    """Whether an alarm is raised (True), over (False), or nothing has changed (None)."""
    firing = {} if since is None else {KEY: since}
    alerts = evaluate(rule, {KEY: CallCounts(count, errors)}, firing, window=HOUR, now=7.0)
    return alerts[0].is_firing if alerts else None


@pytest.mark.parametrize(
    ("count", "errors", "expected"),
    [(100, 0, None), (100, 10, None), (100, 11, True), (20, 20, True), (19, 19, None), (20, 3, True), (0, 0, None)],
)
def test_an_alarm_is_raised_above_the_threshold_of_enough_calls(count, errors, expected):
    assert judge(count, errors) is expected


@pytest.mark.parametrize(
    ("count", "errors", "expected"),
    [(100, 50, None), (100, 10, None), (100, 9, None), (100, 8, False), (5, 1, None), (5, 0, False), (0, 0, False)],
)
def test_a_raised_alarm_is_over_well_below_the_threshold_or_without_calls_but_not_for_few_calls(
    count, errors, expected
):
    assert judge(count, errors, since=5.0) is expected


def test_an_operation_that_was_not_called_at_all_is_over():
    (alert,) = evaluate(RULE, {}, {KEY: 5.0}, window=HOUR, now=7.0)
    assert (alert.is_firing, alert.count, alert.error_rate, alert.since) == (False, 0, 0.0, 5.0)


def test_the_threshold_0_fires_at_any_error_and_the_threshold_1_never():
    assert judge(1000, 1, rule=AlertRule(0.0)) is True
    assert judge(1000, 0, since=5.0, rule=AlertRule(0.0)) is False
    assert judge(1000, 1, since=5.0, rule=AlertRule(0.0)) is None
    assert judge(1000, 1000, rule=AlertRule(1.0)) is None


@given(st.integers(1, 100), st.integers(1, 1000))
def test_a_rate_that_is_exactly_the_threshold_is_not_over_it(percent, hundreds):
    assert judge(100 * hundreds, percent * hundreds, rule=AlertRule(percent / 100)) is None


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1), st.integers(1, 50))
def test_no_figures_both_raise_an_alarm_and_end_it(good, bad, threshold, min_count):
    rule, counts = AlertRule(threshold, min_count), CallCounts(good + bad, bad)
    assert not (rule.is_failing(counts) and rule.is_cleared(counts))
    assert 0 < CLEARED_SHARE < 1


def test_an_alert_tells_its_figures_and_since_when_it_stands():
    counts = {("shop", "b"): CallCounts(40, 30), ("shop", "a"): CallCounts(40, 0), ("bank", "b"): CallCounts(40, 39)}
    raised = evaluate(RULE, counts, {("shop", "a"): 3.0}, window=HOUR, now=7.0)
    assert [(alert.service, alert.operation, alert.is_firing) for alert in raised] == [
        ("bank", "b", True),
        ("shop", "a", False),
        ("shop", "b", True),
    ]
    assert raised[2] == Alert("b", "shop", True, 0.75, 40, 30, 0.1, HOUR, 7.0)
    assert raised[1].since == 3.0


def test_an_alert_says_in_one_line_what_happened_whatever_the_names_are():
    alert = functools.partial(Alert, "charge\ncard", "\x1b[31m", error_rate_threshold=0.1, window=HOUR, since=0.0)
    whose = r"The error rate of operation 'charge\ncard' of service '\x1b[31m'"
    assert alert(is_firing=True, error_rate=0.23, count=200, error_count=46).sentence == (
        f"{whose} is 23%, over 10%: 46 of 200 calls in the last hour failed."
    )
    assert alert(is_firing=False, error_rate=0.0755, count=200, error_count=15).sentence == (
        f"{whose} is 7.55%, no longer over 10%: 15 of 200 calls in the last hour failed."
    )
    assert alert(is_firing=False, error_rate=0.0, count=0, error_count=0).sentence == (
        f"{whose} is no longer over 10%: it was not called in the last hour."
    )


@pytest.mark.parametrize(
    ("count", "p95", "expected"), [(20, 200.1, True), (20, 200.0, False), (19, 900.0, False), (0, None, False)]
)
def test_durations_are_too_slow_above_their_threshold_of_enough_calls(count, p95, expected):
    assert is_too_slow(count, p95, p95_threshold_ms=200.0, min_count=20) is expected


async def never_awaited(alert):
    """Would do nothing when called."""


@pytest.mark.parametrize(
    "callback", ["print", 5, never_awaited], ids=lambda each: getattr(each, "__name__", repr(each))
)
def test_a_callback_of_which_nothing_would_come_is_refused(callback):
    with pytest.raises(ConfigError, match="on_alert must be a function"):
        check_callback(callback)


def test_any_other_callable_is_a_callback_and_so_is_none():
    for callback in (print, [].append, functools.partial(print, "alert"), None):
        check_callback(callback)
