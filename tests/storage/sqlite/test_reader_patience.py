"""A checkpoint waits the longer for readers, the further the log has grown."""

from __future__ import annotations

from otel_perfmon.storage.sqlite.reader_patience import ReaderPatience

MIB = 2**20


def test_readers_are_hardly_waited_for_while_the_log_is_small():
    assert ReaderPatience().timeout_ms(0, 4 * MIB) == ReaderPatience().timeout_ms(4 * MIB, 4 * MIB) == 20


def test_the_further_it_has_grown_the_longer_they_are_but_not_for_ever():
    assert [ReaderPatience().timeout_ms(size * MIB, 4 * MIB) for size in (8, 16, 400)] == [160, 1_280, 2_000]


def test_one_that_was_held_up_is_tried_again_after_a_pause_or_when_the_log_has_grown_as_much_again():
    patience = ReaderPatience()
    assert patience.is_over(5 * MIB)
    patience.note(5 * MIB, 4 * MIB, is_held_up=True)
    assert not patience.is_over(8 * MIB)
    assert patience.is_over(9 * MIB)
    patience.note(9 * MIB, 4 * MIB, is_held_up=False)
    assert patience.is_over(5 * MIB)
