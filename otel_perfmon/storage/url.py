"""Which backend a store's address means: the only place that knows them all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Final

from otel_perfmon.alerts import AlertRule
from otel_perfmon.config import Config, parse_setting
from otel_perfmon.storage.base import RetentionPolicy, Store
from otel_perfmon.storage.outbox import LEASE_SECONDS, ForwardPolicy, Outbox
from otel_perfmon.storage.recorder import Recorder
from otel_perfmon.storage.redactor import RedactionPolicy
from otel_perfmon.storage.registry import recorder_for
from otel_perfmon.storage.sampling import SamplingPolicy
from otel_perfmon.storage.sqlite.writer import SqliteWriter

_OF_RETENTION: Final = frozenset({"retention_seconds", "keep_seconds", "size_max_bytes"})
_OF_SAMPLING: Final = frozenset({"sample_rate", "sample_rates"})
_OF_REDACTION: Final = frozenset({"redact", "redact_keys", "redact_patterns"})
_OF_ALARM: Final = frozenset({"error_rate_threshold", "error_rate_min_count"})


def open_store(path: str | os.PathLike[str], *, seconds_max: float | None = None) -> Store:
    """Open a store for questions. It need not exist yet: a question about a missing file raises `StoreError`.

    One that takes longer than ``seconds_max`` raises `StoreTimeoutError`; None lets each take what it takes. Raises
    `ConfigError` when ``path`` is no path. A context manager.
    """
    from otel_perfmon.storage.sqlite.store import SqliteStore  # noqa: PLC0415 - 20 ms, for who asks

    return SqliteStore(os.path.realpath(parse_setting("path", path)), seconds_max)


@contextmanager
def open_copy(path: str | os.PathLike[str]) -> Iterator[Store]:
    """A copy of a store as it stands, of any version that can be brought up to date; the store itself is left as it is.

    Raises as `open_store` and its questions, `StoreFullError` where there is no room for the copy.
    """
    from otel_perfmon.storage.sqlite.copying import copy_store  # noqa: PLC0415 - as above

    source = os.path.realpath(parse_setting("path", path))
    with TemporaryDirectory(prefix="otel-perfmon-") as folder:
        copy = os.path.join(folder, os.path.basename(source))
        copy_store(source, copy)
        with open_store(copy) as store:
            yield store


def open_outbox(
    path: str,
    name: str,
    policy: ForwardPolicy | None = None,
    *,
    lease_seconds: float = LEASE_SECONDS,
    since_unix_s: float | None = None,
) -> Outbox:
    """The spans of the store at ``path`` as a queue for the destination ``name``, without touching the disk."""
    from otel_perfmon.storage.sqlite.outbox import SqliteOutbox  # noqa: PLC0415 - as above, for who forwards

    return SqliteOutbox(os.path.realpath(path), name, policy, lease_seconds=lease_seconds, since_unix_s=since_unix_s)


def open_recorder(path: str, policy: RetentionPolicy, *, is_override: bool) -> Recorder:
    """The recorder of this process for the store at ``path``, without touching the disk; release it when done.

    ``policy`` holds where the recorder is new, or ``is_override`` says that the user asked for it.
    """
    recorder = recorder_for(path, lambda key: SqliteWriter(key, policy))
    if is_override:
        recorder.set_retention(policy)
    return recorder


def open_configured_recorder(config: Config, arguments: Mapping[str, Any]) -> Recorder:
    """The recorder for a door with these settings, of which ``arguments`` were given, those of None excepted.

    What was given holds from now on, for the other doors of the recorder too; the rest only where it is new.
    """
    given = [name for name, value in arguments.items() if value is not None]
    policy = RetentionPolicy(config.retention_seconds, config.keep_seconds, config.size_max_bytes)
    recorder = open_recorder(config.path, policy, is_override=not _OF_RETENTION.isdisjoint(given))
    if recorder.alarm.rule is None or not _OF_ALARM.isdisjoint(given):
        recorder.alarm.rule = AlertRule(config.error_rate_threshold, config.error_rate_min_count)
    if recorder.sampling.policy is None or not _OF_SAMPLING.isdisjoint(given):
        recorder.sampling.policy = SamplingPolicy(config.sample_rate, config.sample_rates)
    if recorder.redactor.policy is None or not _OF_REDACTION.isdisjoint(given):
        recorder.redactor.policy = RedactionPolicy(config.redact, config.redact_keys, config.redact_patterns)
    return recorder
