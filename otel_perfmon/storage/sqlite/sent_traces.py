"""The traces that a destination gets because something in them was slow or failed, and what of them it still lacks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from otel_perfmon.storage.sqlite.outbox_rows import pieces_of, read_ids

FORGET_SECONDS: Final = 7 * 86_400
REMEMBERED_MAX: Final = 100_000
"""Verdicts that are kept for one destination; of more, the oldest go."""
_FORGOTTEN_AT_ONCE: Final = 1_000

_WORTH: Final = """
SELECT group_concat(hex(trace_id), '') FROM (
    SELECT DISTINCT s.trace_id FROM _spans s WHERE s.id > ? AND s.id <= ? AND EXISTS (
        SELECT 1 FROM _spans k INDEXED BY _spans_worth_keeping
        WHERE k.trace_id = s.trace_id AND k.is_error + k.is_slow > 0))
"""
_KNOWN: Final = """
SELECT group_concat(hex(trace_id), '') FROM (
    SELECT DISTINCT s.trace_id FROM _spans s
        CROSS JOIN _sent_traces t ON t.destination_id = ? AND t.trace_id = s.trace_id
    WHERE s.id > ? AND s.id <= ?)
"""


class SentTraces:
    """Those of one destination; the caller holds a transaction."""

    def __init__(self, connection: sqlite3.Connection, destination_id: int) -> None:
        self._connection = connection
        self._destination_id = destination_id

    def find_worth_sending(self, after_id: int, last_id: int) -> tuple[set[bytes], set[bytes]]:
        """Of the traces of the rows between two ids: those that are known to be sent, and those that are worth it."""
        (known,) = self._connection.execute(_KNOWN, (self._destination_id, after_id, last_id)).fetchone()
        (worth,) = self._connection.execute(_WORTH, (after_id, last_id)).fetchone()
        return set(pieces_of(known)), set(pieces_of(worth))

    def note(self, trace_ids: Sequence[bytes], now_unix_s: int, judged_from: int, cursor: int) -> bool:
        """Remember traces as sent; whether spans of them between the two ids were left out, which come first now."""
        is_left = False
        for trace_id in trace_ids:
            first = self._first_id(trace_id, judged_from, cursor)
            is_left = is_left or first is not None
            self._connection.execute(
                "INSERT OR IGNORE INTO _sent_traces VALUES (?, ?, ?, ?, ?)",
                (self._destination_id, trace_id, now_unix_s, *((1, 0) if first is None else (first, cursor))),
            )
        self._forget(now_unix_s)
        return is_left

    def _first_id(self, trace_id: bytes, judged_from: int, cursor: int) -> int | None:
        sql = "SELECT min(id) FROM _spans WHERE trace_id = ? AND id > ? AND id <= ?"
        found = self._connection.execute(sql, (trace_id, judged_from, cursor)).fetchone()[0]
        return None if found is None else int(found)

    def find_unfinished(self) -> tuple[bytes, int, int] | None:
        """A trace of which spans were left out before it was known to be worth sending, and between which ids."""
        row = self._connection.execute(
            "SELECT trace_id, next_span_id, last_span_id FROM _sent_traces INDEXED BY _sent_traces_unfinished"
            " WHERE destination_id = ? AND next_span_id <= last_span_id LIMIT 1",
            (self._destination_id,),
        ).fetchone()
        return None if row is None else (bytes(row[0]), int(row[1]), int(row[2]))

    def find_span_ids(self, trace_id: bytes, first: int, last: int, count_max: int) -> list[int]:
        """The rows of a trace between two ids, in order."""
        sql = "SELECT id FROM _spans WHERE trace_id = ? AND id BETWEEN ? AND ? ORDER BY id LIMIT ?"
        return read_ids(self._connection, sql, (trace_id, first, last, count_max))

    def advance(self, trace_id: bytes, last_id: int) -> None:
        """Its spans up to ``last_id`` are settled."""
        self._connection.execute(
            "UPDATE _sent_traces SET next_span_id = ? WHERE destination_id = ? AND trace_id = ?",
            (last_id + 1, self._destination_id, trace_id),
        )

    def _forget(self, now_unix_s: int) -> None:
        """A bounded number of the oldest, where they are too old or too many."""
        count = self._connection.execute(
            "SELECT count(*) FROM _sent_traces WHERE destination_id = ?", (self._destination_id,)
        ).fetchone()[0]
        self._connection.execute(
            "DELETE FROM _sent_traces WHERE destination_id = :id AND trace_id IN ("
            " SELECT trace_id FROM _sent_traces WHERE destination_id = :id AND next_span_id > last_span_id"
            " AND (judged_unix_s < :old OR :is_many) ORDER BY judged_unix_s LIMIT :limit)",
            {
                "id": self._destination_id,
                "old": now_unix_s - FORGET_SECONDS,
                "is_many": count > REMEMBERED_MAX,
                "limit": _FORGOTTEN_AT_ONCE,
            },
        )
