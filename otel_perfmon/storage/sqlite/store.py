"""The SQLite store: what can be asked and tidied, whoever records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from otel_perfmon.account import SecretFinding
from otel_perfmon.errors import QueryError
from otel_perfmon.outline import Outline
from otel_perfmon.records import OpenSpanRecord
from otel_perfmon.storage import registry
from otel_perfmon.storage.base import KeysFound, RetentionPolicy
from otel_perfmon.storage.maintenance import remove_in_steps
from otel_perfmon.storage.redactor import RedactionPolicy
from otel_perfmon.storage.sqlite import traces
from otel_perfmon.storage.sqlite.connection import check_ours, check_readable, translated
from otel_perfmon.storage.sqlite.path_status import inode_of, size_bytes
from otel_perfmon.storage.sqlite.reader import SqliteReader
from otel_perfmon.storage.sqlite.summary import read_file_id
from otel_perfmon.storage.sqlite.writer import SqliteWriter

_UNIX_S_MAX: Final = 9_000_000_000
"""The year 2255: nanoseconds up to here fit 64 bits."""


class SqliteStore(SqliteReader):
    """The `Store` of one file. What this process records into it is flushed before each question."""

    def delete_spans_before(self, end_time: float) -> int:
        """Remove the spans that ended before ``end_time`` (Unix seconds); statistics stay. How many."""
        if isinstance(end_time, bool) or not isinstance(end_time, (int, float)) or end_time != end_time:  # noqa: PLR0124
            message = f"end_time must be a number of Unix seconds; it is {end_time!r:.100}."
            raise QueryError(message)
        self.before_question()
        end_unix_nano = int(max(-_UNIX_S_MAX, min(_UNIX_S_MAX, end_time)) * 10**9)
        recorder = registry.find_recorder(self.path)
        if recorder is not None:
            return recorder.delete_spans_before(end_unix_nano)
        with self._own_writer() as writer:
            return remove_in_steps(partial(writer.delete_spans_before, end_unix_nano))

    def find_span_keys(self, after: Mapping[bytes, int]) -> KeysFound:
        """Row ids and keys of the spans of those traces; see `Store`."""
        if not size_bytes(self.path):
            return KeysFound()
        inode = inode_of(self.path)  # first: a file that takes its place meanwhile is known for another next time
        with self._transaction() as connection:
            file_id = read_file_id(connection)
            rows = list(traces.find_span_keys(connection, after))
            return KeysFound(rows, file_id and (inode, file_id), traces.removed_count(connection))

    def prune(self, policy: RetentionPolicy | None = None) -> int:
        """Take every step of retention that is due, by the store's own policy unless one is given; how many went."""
        if policy is not None and not isinstance(policy, RetentionPolicy):
            message = f"policy must be a RetentionPolicy; it is {policy!r:.100}."
            raise QueryError(message)
        self.before_question()
        recorder = registry.find_recorder(self.path)
        if recorder is not None:
            return recorder.prune(policy)
        with self._own_writer() as writer:
            return remove_in_steps(partial(writer.prune, policy))

    def find_open_spans(self, *, trace_id: str | None = None) -> list[OpenSpanRecord]:
        """What is running now, in this process too; see `SpanReader`."""
        self._look_at_open_spans()
        return super().find_open_spans(trace_id=trace_id)

    def get_outline(self, trace_id: str) -> Outline:
        """The tree of a trace, with what is running now in this process too; see `SpanReader`."""
        self._look_at_open_spans()
        return super().get_outline(trace_id)

    def _look_at_open_spans(self) -> None:
        recorder = registry.find_recorder(self.path)
        if recorder is not None:
            recorder.look_at_open_spans()

    def find_secrets(self, policy: RedactionPolicy | None = None) -> list[SecretFinding]:
        """Where the file holds secrets, by the defaults and what ``policy`` adds; never the secrets themselves."""
        from otel_perfmon.storage.sqlite import secrets  # noqa: PLC0415 - 30 ms, for who looks for secrets

        return secrets.find_secrets(self._transaction, secrets.redaction_of(policy))

    def remove_secrets(self, policy: RedactionPolicy | None = None) -> list[SecretFinding]:
        """The same, and take them out: from the file's bytes and its log's too. Beside live writers, in steps."""
        from otel_perfmon.storage.sqlite import secrets  # noqa: PLC0415 - as above

        with translated(self.path):
            check_readable(self.path)
            check_ours(self.path)
        redaction = secrets.redaction_of(policy)
        with secrets.SecretEraser(self.path, redaction) as eraser:
            return secrets.find_secrets(self._transaction, redaction, eraser.rewrite)

    @contextmanager
    def _own_writer(self) -> Iterator[SqliteWriter]:
        """A writer for a file into which this process does not record; it must be there and ours."""
        with translated(self.path):
            check_readable(self.path)
            check_ours(self.path)
        writer = SqliteWriter(self.path)
        try:
            yield writer
        finally:
            writer.close()

    def before_question(self) -> None:
        """Raise if the store is closed; then write what this process has recorded."""
        super().before_question()
        registry.flush_before_reading(self.path)

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
