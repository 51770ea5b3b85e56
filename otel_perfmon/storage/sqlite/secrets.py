"""Secrets that are stored already: where they are, and how they go, from the file's bytes and its log's as well.

Every column of text of every table is looked at, so that a table made later is not forgotten, and every form in which
something came as OTLP: with a secret in it, or beside it, that is not kept. Reading is done in short
transactions. Rewriting holds our file lock for some rows at a time, beside live writers; what it replaces is
overwritten by zeros (``secure_delete``), the free pages are given back, and the log is emptied.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from typing import Any, Final, NamedTuple

from otel_perfmon.account import SecretFinding
from otel_perfmon.errors import StoreBusyError
from otel_perfmon.redaction.redaction import Redaction
from otel_perfmon.storage.raw_points import MARK, redact_data
from otel_perfmon.storage.redactor import RAW, REDACTED, RedactionPolicy
from otel_perfmon.storage.sqlite import connection as connections
from otel_perfmon.storage.sqlite.file_lock import FileLock
from otel_perfmon.storage.sqlite.soundness import Soundness

ROWS_AT_ONCE: Final = 200
REWRITTEN_AT_ONCE: Final = 20
"""Rows in one transaction: writers wait for it."""
_VACUUM_PAGES: Final = 500
_LOCK_SECONDS: Final = 5.0
_CHECKPOINT_SECONDS: Final = 5.0
_HASHED: Final = frozenset(("_resources", "_scopes", "_instruments"))
"""Tables with a hash of what a row says, from which a short secret could be guessed."""
_JSON: Final = ("{", "[")
_IDENTITY: Final = ("process", "started", "boot_id", "pid_namespace")
_OUR_OWN: Final[dict[str, tuple[str, ...]]] = {
    "_health": _IDENTITY,
    "_open_processes": _IDENTITY,
    "_open_spans": ("process",),
    "_drops": ("process", "reason"),
    "_facts": ("name",),
    "_instruments": ("kind",),
    "_destinations": ("name", "lease_owner", *(f"lease_{name}" for name in _IDENTITY[1:])),
    "_logs": ("altered",),
}
"""What no program of the user's said: a pattern that finds it must not make one process two."""


class TextTable(NamedTuple):
    """A table, the columns of its key, and those of text, or of what came as OTLP."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]

    def read(self, connection: sqlite3.Connection, after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
        """The next rows: the key, then the texts."""
        key = ", ".join(self.key)
        where = f"WHERE ({key}) > ({', '.join('?' * len(self.key))})" if after else ""
        sql = f"SELECT {key}, {', '.join(self.columns)} FROM {self.name} {where} ORDER BY {key} LIMIT {ROWS_AT_ONCE}"
        return connection.execute(sql, after or ()).fetchall()

    def read_one(self, connection: sqlite3.Connection, key: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The texts of one row, if it is still there."""
        condition = " AND ".join(f"{name} = ?" for name in self.key)
        sql = f"SELECT {', '.join(self.columns)} FROM {self.name} WHERE {condition}"
        row: tuple[Any, ...] | None = connection.execute(sql, key).fetchone()
        return row

    def update(
        self, connection: sqlite3.Connection, key: tuple[Any, ...], changed: dict[str, Any], numbers: Iterator[int]
    ) -> None:
        """Set columns of one row. Where another row says the same by now, a number is put behind one of them."""
        condition = " AND ".join(f"{name} = ?" for name in self.key)
        extra = ", hash = randomblob(16)" if self.name in _HASHED else ""
        sql = f"UPDATE {self.name} SET {', '.join(f'{name} = ?' for name in changed)}{extra} WHERE {condition}"
        values, number = changed, 0
        while True:
            for name, text in changed.items():
                with suppress(sqlite3.IntegrityError):
                    connection.execute(sql, (*values.values(), *key))
                    return
                number = number or next(numbers)
                values = {**changed, name: f"{text} ({number})"}
            number = 0


def redaction_of(policy: RedactionPolicy | None) -> Redaction:
    """The defaults, and what the policy adds, whether it is on or not."""
    return Redaction(policy.keys, policy.patterns) if policy else Redaction()


def text_tables(connection: sqlite3.Connection) -> list[TextTable]:
    """Every table of the file that has text."""
    found = []
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    for (name,) in tables.fetchall():
        columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
        key = tuple(each[1] for each in sorted(columns, key=lambda each: each[5]) if each[5]) or ("rowid",)
        texts = tuple(
            each[1]
            for each in columns
            if (each[2] == "TEXT" and each[1] not in _OUR_OWN.get(name, ())) or each[1] == RAW
        )
        if texts:
            found.append(TextTable(name, key, texts))
    return sorted(found, key=lambda table: table.name != "_raw_spans")  # which go with the texts of their spans


def find_secrets(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
    redaction: Redaction,
    on_found: Callable[[TextTable, list[tuple[Any, ...]]], None] = lambda _table, _keys: None,
) -> list[SecretFinding]:
    """What is found in the whole file; ``on_found`` is told the keys of rows that have a secret."""
    counts: Counter[tuple[str, str]] = Counter()
    with reading() as connection:
        tables = text_tables(connection)
    for table in tables:
        after: tuple[Any, ...] | None = None
        while True:
            with reading() as connection:
                rows = table.read(connection, after)
            if not rows:
                break
            width = len(table.key)
            after = rows[-1][:width]
            keys = []
            for row in _suspects(redaction, rows, width):
                places = _places_of(table, row[width:], redaction)
                counts.update(places)
                if places:
                    keys.append(row[:width])
            if keys:
                on_found(table, keys)
    return [SecretFinding(place, key, rows_count) for (place, key), rows_count in sorted(counts.items())]


class SecretEraser:
    """Takes secrets out of one file. A context manager: at its end the file's free pages and its log are emptied."""

    def __init__(self, path: str, redaction: Redaction) -> None:
        self._path = path
        self._redaction = redaction
        self._lock = FileLock(path + ".lock")
        self._soundness = Soundness(path, self._lock)
        self._connection: sqlite3.Connection | None = None
        self._numbers = count(2)

    def rewrite(self, table: TextTable, keys: list[tuple[Any, ...]]) -> None:
        """Take the secrets out of those rows, some at a time."""
        for start in range(0, len(keys), REWRITTEN_AT_ONCE):
            self._rewrite_some(table, keys[start : start + REWRITTEN_AT_ONCE])

    def _rewrite_some(self, table: TextTable, keys: list[tuple[Any, ...]]) -> None:
        with self._writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for key in keys:
                    self._rewrite_row(connection, table, key)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def __enter__(self) -> SecretEraser:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._empty_free_pages()
                self._empty_log()
        finally:
            if self._connection is not None:
                self._connection.close()
            self._lock.close()

    def _rewrite_row(self, connection: sqlite3.Connection, table: TextTable, key: tuple[Any, ...]) -> None:
        row = table.read_one(connection, key)
        if row is None:
            return  # pruned meanwhile
        changed = {}
        for name, text in zip(table.columns, row, strict=True):
            clean = _clean(self._redaction, text, table.name)
            if clean != text:
                changed[name] = clean
        if not changed:
            return
        if table.name == "_raw_spans":
            _forget_raw_span(connection, key)
            return
        if table.name == "_spans":
            details = changed.get("details", row[table.columns.index("details")])
            changed["details"] = _marked(details)
        if table.name == "_logs":
            _mark_log(connection, key, is_raw_lost=bool(row[table.columns.index(RAW)]))
        if RAW in table.columns:
            changed[RAW] = b""
        table.update(connection, key, changed, self._numbers)
        if table.name == "_spans":
            _forget_raw_span(connection, key)

    def _empty_free_pages(self) -> None:
        """Those that pruning left too: what was on them is in them still."""
        is_more = True
        while is_more:
            with self._writing() as connection:
                free = _pragma(connection, "freelist_count")
                # execute() would free one page: Python takes the pragma for done after its first step.
                connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                is_more = 0 < _pragma(connection, "freelist_count") < free

    def _empty_log(self) -> None:
        deadline = time.monotonic() + _CHECKPOINT_SECONDS
        while True:
            with self._writing() as connection:
                with self._soundness.changing():
                    is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                if not is_busy:
                    return
            if time.monotonic() > deadline:
                message = (
                    f"{self._path} is rewritten, but its log is not empty yet: somebody reads from it; run it again."
                )
                raise StoreBusyError(message)
            time.sleep(0.05)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with connections.translated(self._path), self._lock.held(_LOCK_SECONDS):
            if self._connection is None:
                self._connection = connections.open_writer(self._path, self._lock.touch)
                self._connection.execute("PRAGMA secure_delete = ON")
            if self._soundness.is_sure():
                self._soundness.note_log()
            yield self._connection


def _suspects(redaction: Redaction, rows: list[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    """The rows that are worth a closer look."""
    texts, owners = [], []
    for number, row in enumerate(rows):
        for text in row[width:]:
            if type(text) is str and text:
                texts.append(text)
                owners.append(number)
    numbers = {owners[place] for place in redaction.find_suspects(texts)}
    numbers |= {number for number, row in enumerate(rows) if any(map(_is_raw, row[width:]))}
    return [rows[number] for number in sorted(numbers)]


def _is_raw(text: Any) -> bool:
    return bool(text) and (MARK in text if isinstance(text, str) else isinstance(text, bytes))


def _clean(redaction: Redaction, text: Any, table: str) -> Any:
    if type(text) is bytes:
        return b"" if text and redaction.is_secret_in(text) else text
    if type(text) is not str or not text:
        return text
    if table == "_points" and MARK in text:
        return redact_data(redaction, text)
    if text.startswith(_JSON):
        with suppress(RecursionError):  # of nesting that no writer of ours made
            return redaction.redact_json(text)
    return redaction.redact_text(text)


def _places_of(table: TextTable, texts: tuple[Any, ...], redaction: Redaction) -> set[tuple[str, str]]:
    """Where in a row secrets are: the column, or the part of a span's details, and the name they stand under."""
    places: set[tuple[str, str]] = set()
    view = table.name.lstrip("_")
    for column, text in zip(table.columns, texts, strict=True):
        clean = _clean(redaction, text, table.name)
        if clean == text:
            continue
        if isinstance(text, bytes) or not text.startswith(_JSON):
            places.add((f"{view}.{column}", ""))
            continue
        for part, key in _changed_keys(_decoded(text), _decoded(clean)):
            is_part = column == "details" and part
            places.add((f"{view}.{part if is_part else column}", "" if is_part and part == key else key))
    return places


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _changed_keys(old: Any, new: Any, part: str = "", key: str = "") -> Iterator[tuple[str, str]]:
    """The outermost and the innermost name of everything that differs; never a name that is a secret itself."""
    if isinstance(old, dict) and isinstance(new, dict) and len(old) == len(new):
        for (old_key, old_value), (new_key, new_value) in zip(old.items(), new.items(), strict=True):
            if old_key != new_key:
                yield part or new_key, new_key
            else:
                yield from _changed_keys(old_value, new_value, part or new_key, new_key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for old_value, new_value in zip(old, new, strict=True):
            yield from _changed_keys(old_value, new_value, part, key)
    elif old != new:
        yield part, key


def _forget_raw_span(connection: sqlite3.Connection, key: tuple[Any, ...]) -> None:
    """Remove a span's raw form, if it has one; the span says so."""
    if connection.execute("DELETE FROM _raw_spans WHERE span_row_id = ?", key).rowcount > 0:
        row = connection.execute("SELECT details FROM _spans WHERE id = ?", key).fetchone()
        if row is not None:
            details = _marked(_marked(row[0], RAW))
            connection.execute("UPDATE _spans SET details = ? WHERE id = ?", (details, *key))


def _mark_log(connection: sqlite3.Connection, key: tuple[Any, ...], *, is_raw_lost: bool) -> None:
    (altered,) = connection.execute("SELECT altered FROM _logs WHERE id = ?", key).fetchone()
    for mark in (RAW, REDACTED) if is_raw_lost else (REDACTED,):
        altered = _with_mark(altered, mark)
    connection.execute("UPDATE _logs SET altered = ? WHERE id = ?", (altered, *key))


def _with_mark(altered: str, mark: str) -> str:
    return altered if mark in altered.split(",") else f"{altered},{mark}" if altered else mark


def _marked(details: str, mark: str = REDACTED) -> str:
    """The details of a span, which say that something was taken out."""
    decoded = json.loads(details) if details else {}
    altered = str(decoded.get("altered", ""))
    if mark in altered.split(","):
        return details
    decoded["altered"] = _with_mark(altered, mark)
    return json.dumps(decoded, ensure_ascii=details.isascii(), separators=(",", ":"))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
