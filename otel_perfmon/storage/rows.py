"""What a door hands to a store: one span, metric data point or log record, as plain storable values.

Every text is valid Unicode, every integer fits 64 bits, ids are bytes, attributes are JSON (`attributes`). Resources
and scopes are shared objects: a door makes one row for each it meets, and a store may cache by identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Final, NamedTuple, TypeVar

from otel_perfmon.storage.attributes import size_bytes

STATUS_ERROR: Final = 2
ROW_BYTES: Final = 512
"""So much a row counts, beside its texts, where bytes are bounded."""
OPERATION_NAME_MAX: Final = 1_000
"""Characters of a span's name; the rest is cut."""
OVERFLOW_OPERATION: Final = "(other operations)"
"""The operation that counts what there is no room for by its own name."""


@dataclass(frozen=True, slots=True, eq=False)
class ResourceRow:
    """What made the span; compared by identity.

    ``otlp`` is empty where the other fields tell all, as in a `ScopeRow`: else a ``ResourceSpans`` without its scopes,
    and a ``ScopeSpans`` without its spans, as they came. Those of metrics and logs have the same fields.
    """

    service_name: str
    service_version: str
    environment: str
    attributes: str
    schema_url: str = ""
    otlp: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class ScopeRow:
    """The instrumentation scope; compared by identity."""

    name: str
    version: str
    schema_url: str
    attributes: str
    otlp: bytes = b""


class SpanDetails(NamedTuple):
    """What few spans have. What is absent is empty; events and links are JSON arrays.

    ``error_message`` is what error groups are made of; ``altered`` names the parts that were cut or replaced, with
    commas. ``otlp`` is the span as it came, in OTLP's protobuf, where a row has no place for all that it holds.
    """

    status_message: str = ""
    error_type: str = ""
    error_message: str = ""
    trace_state: str = ""
    events: str = ""
    links: str = ""
    dropped_attributes_count: int = 0
    dropped_events_count: int = 0
    dropped_links_count: int = 0
    altered: str = ""
    otlp: bytes = b""


NO_DETAILS: Final = SpanDetails()


class SpanRow(NamedTuple):
    """One ended span. ``kind`` and ``flags`` as in OTLP; times in nanoseconds since 1970.

    What is absent is empty: ``parent_span_id`` of a root, the JSON of no attributes; ``details`` is None where all of
    them are. ``is_slow`` is 0 or 1.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    is_parent_remote: bool
    name: str
    resource: ResourceRow
    scope: ScopeRow
    kind: int
    flags: int
    start_unix_nano: int
    end_unix_nano: int
    duration_nano: int
    status_code: int
    is_slow: int
    attributes: str
    details: SpanDetails | None = None

    @property
    def is_error(self) -> bool:
        """Whether the span failed."""
        return self.status_code == STATUS_ERROR

    @property
    def text_size(self) -> int:
        """Bytes of its texts that can be long."""
        details = self.details
        if details is None:
            return size_bytes(self.attributes)
        long = (details.events, details.links, details.status_message, details.error_message, details.trace_state)
        return size_bytes(self.attributes) + sum(map(size_bytes, long)) + len(details.otlp)


SpanKey = tuple[bytes, bytes, int]
"""What tells one span from another: its trace, its id, its start (Unix nanoseconds). Ids alone may repeat."""


def key_of(row: SpanRow) -> SpanKey:
    """The key of a row."""
    return row.trace_id, row.span_id, row.start_unix_nano


class OpenSpanRow(NamedTuple):
    """One span that has not ended, as it stood at ``span.end_unix_nano``; an empty thread name is an unknown thread."""

    span: SpanRow
    slow_threshold_nano: int
    thread_id: int
    thread_name: str


class PointRow(NamedTuple):
    """One metric data point; ``data`` is a JSON object of what the instrument's kind carries."""

    resource: ResourceRow
    scope: ScopeRow
    instrument: str
    kind: str
    unit: str
    description: str
    temporality: int
    is_monotonic: bool
    attributes: str
    start_unix_nano: int
    time_unix_nano: int
    data: str

    @property
    def text_size(self) -> int:
        """Bytes of its texts that can be long."""
        return size_bytes(self.attributes) + size_bytes(self.data)


class LogRow(NamedTuple):
    """One log record. Ids are empty, and times 0, where it has none; ``otlp`` as in `SpanDetails`.

    ``body`` is text; a body of another kind is JSON in ``body_json``, where what is no text stands, and where an empty
    text is told from none.
    """

    trace_id: bytes
    span_id: bytes
    flags: int
    resource: ResourceRow
    scope: ScopeRow
    time_unix_nano: int
    observed_unix_nano: int
    severity_number: int
    severity_text: str
    event_name: str
    body: str
    body_json: str
    attributes: str
    dropped_attributes_count: int = 0
    altered: str = ""
    otlp: bytes = b""

    @property
    def text_size(self) -> int:
        """Bytes of its texts that can be long."""
        texts = (self.severity_text, self.body, self.body_json, self.attributes)
        return sum(map(size_bytes, texts)) + len(self.otlp)


_Row = TypeVar("_Row", PointRow, LogRow)


def first_rows(rows: Sequence[_Row], bytes_max: int) -> Sequence[_Row]:
    """The first rows, as many as have so many bytes together, and one at least."""
    sizes = accumulate(ROW_BYTES + each.text_size for each in rows)
    return rows[: 1 + sum(1 for _ in takewhile(bytes_max.__gt__, sizes))]


class EdgeRow(NamedTuple):
    """Calls from one operation to another that ended in one hour."""

    caller_resource: ResourceRow
    caller: str
    callee_resource: ResourceRow
    callee: str
    hour_unix_s: int
    call_count: int
    duration_sum_nano: int
