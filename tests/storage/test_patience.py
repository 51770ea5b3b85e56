"""How long callers wait while nothing is written."""

from __future__ import annotations

import time

from otel_perfmon.storage.patience import Patience


def test_what_was_waited_in_vain_adds_up_until_something_goes_on():
    patience = Patience()
    for _ in range(3):
        assert not patience.is_over(1.0, is_failing=False)
        patience.spend(0.4)
    assert patience.is_over(1.0, is_failing=False)
    patience.note_progress()
    assert not patience.is_over(1.0, is_failing=False)


def test_the_clock_counts_only_where_the_store_is_known_to_fail():
    patience = Patience()
    time.sleep(0.02)
    assert patience.stalled_seconds >= 0.02
    assert patience.is_over(0.01, is_failing=True)
    assert not patience.is_over(0.01, is_failing=False)
