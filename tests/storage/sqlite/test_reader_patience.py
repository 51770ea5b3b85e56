"""A checkpoint waits the longer for readers, the further the log has grown."""

from __future__ import annotations

from otel_perfmon.storage.sqlite.reader_patience import patience_ms

MIB = 2**20


def test_readers_are_hardly_waited_for_while_the_log_is_small():
    assert patience_ms(0, 4 * MIB) == patience_ms(4 * MIB, 4 * MIB) == 20


def test_the_further_it_has_grown_the_longer_they_are_but_not_for_ever():
    assert patience_ms(8 * MIB, 4 * MIB) == 80
    assert patience_ms(16 * MIB, 4 * MIB) == 320
    assert patience_ms(400 * MIB, 4 * MIB) == 2_000
