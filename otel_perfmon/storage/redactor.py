"""Takes secrets out of rows, on the writer's thread, before anything is made of them: names, statistics, error groups.

What is found in a row is replaced and the row marked ``redacted`` in its ``altered``. Should redaction itself fail on a
row, that row's texts are not kept: better nothing than a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_perfmon.storage.columns import SpanColumns
from otel_perfmon.storage.raw_points import MARK, redact_data
from otel_perfmon.storage.rows import NO_DETAILS, LogRow, PointRow, ResourceRow, ScopeRow, SpanDetails, SpanRow

if TYPE_CHECKING:
    from otel_perfmon.redaction.redaction import Redaction

REDACTED: Final = "redacted"
"""What ``altered`` says of a row out of which something was taken."""
RAW: Final = "otlp"
"""What it says of one whose raw form had a secret in it and was not kept."""
_UNREADABLE: Final = "[redacted]"
_SHARED_MAX: Final = 1_000
_NAME: Final = SpanRow._fields.index("name")
_RESOURCE: Final = SpanRow._fields.index("resource")
_SCOPE: Final = SpanRow._fields.index("scope")
_ATTRIBUTES: Final = SpanRow._fields.index("attributes")
_DETAILS: Final = SpanRow._fields.index("details")
_PARTS: Final = tuple(
    SpanDetails._fields.index(name)
    for name in ("status_message", "error_type", "error_message", "trace_state", "events", "links")
)
_JSON_PARTS: Final = frozenset((SpanDetails._fields.index("events"), SpanDetails._fields.index("links")))
_JSON_FIELDS: Final = frozenset(("body_json", "attributes"))
_SAYING: Final = ('"exemplars"', '"metadata"', MARK)
"""The parts of a data point in which there is text."""
_POINT_TEXTS: Final = slice(PointRow._fields.index("instrument"), PointRow._fields.index("attributes") + 1)
_T = TypeVar("_T", ResourceRow, ScopeRow)


@dataclass(frozen=True, slots=True)
class RedactionPolicy:
    """Whether secrets are taken out, and what is one beside the defaults: see `otel_perfmon.redaction`."""

    is_on: bool = True
    keys: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


class Redactor:
    """Redacts what one recorder writes; one thread at a time. Any thread may set ``policy``, None until somebody says.

    The expressions are made when the first batch comes, which takes about 30 ms: not by who starts a program.
    """

    def __init__(self) -> None:
        self.policy: RedactionPolicy | None = None
        self._followed: RedactionPolicy | None = None
        self._redaction: Redaction | None = None
        self._shared: dict[Any, Any] = {}

    def redact_spans(self, spans: SpanColumns) -> SpanColumns:
        """The spans without their secrets; the same object where there are none."""
        redaction = self._follow_policy()
        if redaction is None or not spans:
            return spans
        columns = list(spans.columns)
        columns[_RESOURCE] = self._each_shared(columns[_RESOURCE])
        columns[_SCOPE] = self._each_shared(columns[_SCOPE])
        altered = self._redact_names(columns, redaction)
        attributes, details = columns[_ATTRIBUTES], columns[_DETAILS]
        if any(attributes):
            suspects = redaction.find_suspects(attributes)
            if suspects:
                columns[_ATTRIBUTES] = attributes = attributes.copy()
            for number in suspects:
                clean = _guarded(redaction.redact_json, attributes[number])
                if clean is not attributes[number]:
                    attributes[number] = clean
                    altered.add(number)
        if altered or details.count(None) < len(details):
            columns[_DETAILS] = _redact_details(details, altered, redaction)
        return SpanColumns(columns)

    def redact_points(self, points: Sequence[PointRow]) -> list[PointRow]:
        """Metric points without secrets in their attributes, exemplars, resources, descriptions and units."""
        redaction = self._follow_policy()
        if redaction is None:
            return list(points)
        return [self._redact_point(point, redaction) for point in points]

    def _redact_point(self, point: PointRow, redaction: Redaction) -> PointRow:
        text = partial(_guarded, redaction.redact_text)
        clean = point._replace(
            resource=self._redact_shared(point.resource),
            scope=self._redact_shared(point.scope),
            instrument=text(point.instrument),
            unit=text(point.unit),
            description=text(point.description),
            attributes=_guarded(redaction.redact_json, point.attributes),
        )
        if not any(map(point.data.__contains__, _SAYING)):
            return clean
        is_changed = clean[_POINT_TEXTS] != point[_POINT_TEXTS]
        return clean._replace(data=_guarded(partial(redact_data, redaction, is_changed=is_changed), point.data))

    def redact_logs(self, logs: Sequence[LogRow]) -> list[LogRow]:
        """Log records without secrets, marked where there were any."""
        redaction = self._follow_policy()
        return list(logs) if redaction is None else [self._redact_log(log, redaction) for log in logs]

    def _redact_log(self, log: LogRow, redaction: Redaction) -> LogRow:
        resource, scope = self._redact_shared(log.resource), self._redact_shared(log.scope)
        changed: dict[str, Any] = {}
        for name in ("severity_text", "event_name", "body", "body_json", "attributes"):
            text = getattr(log, name)
            if text and redaction.find_suspects([text]):
                redact = redaction.redact_json if name in _JSON_FIELDS else redaction.redact_text
                clean = _guarded(redact, text, '"[redacted]"' if name == "body_json" else None)
                if clean != text:
                    changed[name] = clean
        is_raw_lost = bool(log.otlp) and (bool(changed) or _is_secret_in(redaction, log.otlp))
        if changed or is_raw_lost:
            changed |= {"altered": _marked(log.altered, is_raw_lost=is_raw_lost), "otlp": b""}
        return log._replace(resource=resource, scope=scope, **changed)

    def _follow_policy(self) -> Redaction | None:
        policy = self.policy or _DEFAULT
        if policy is not self._followed:
            self._shared.clear()
            self._redaction = None
            if policy.is_on:
                from otel_perfmon.redaction.redaction import Redaction  # noqa: PLC0415 - see the class

                self._redaction = Redaction(policy.keys, policy.patterns)
            self._followed = policy
        return self._redaction

    def _redact_names(self, columns: list[list[Any]], redaction: Redaction) -> set[int]:
        """Take secrets out of the spans' names; the numbers of those that had any."""
        names = columns[_NAME]
        distinct = list(set(names)) if names.count(names[0]) < len(names) else names[:1]
        clean = {
            distinct[number]: _guarded(redaction.redact_text, distinct[number])
            for number in redaction.find_suspects(distinct)
        }
        altered = {number for number, name in enumerate(names) if clean.get(name, name) != name} if clean else set()
        if altered:
            columns[_NAME] = [clean.get(name, name) for name in names]
        return altered

    def _each_shared(self, rows: list[_T]) -> list[_T]:
        """Resources or scopes, of which there are few, found by identity."""
        first = rows[0]
        if rows.count(first) == len(rows):
            clean = self._redact_shared(first)
            return rows if clean is first else [clean] * len(rows)
        return list(map(self._redact_shared, rows))

    def _redact_shared(self, row: _T) -> _T:
        """The row without its secrets: the same object for the same row, since a store goes by identity."""
        found = self._shared.get(row)
        if found is None:
            if len(self._shared) >= _SHARED_MAX:
                self._shared.clear()
            found = self._shared[row] = self._without_secrets(row)
        clean: _T = found
        return clean

    def _without_secrets(self, row: _T) -> _T:
        redaction = self._redaction
        assert redaction is not None
        texts = {"schema_url": row.schema_url}
        if isinstance(row, ResourceRow):
            texts |= {"service_name": row.service_name, "service_version": row.service_version}
            texts["environment"] = row.environment
        else:
            texts |= {"name": row.name, "version": row.version}
        clean = {name: _guarded(redaction.redact_text, text) for name, text in texts.items()}
        clean["attributes"] = _guarded(redaction.redact_json, row.attributes) if row.attributes else row.attributes
        if clean == {**texts, "attributes": row.attributes}:
            return replace(row, otlp=b"") if row.otlp and _is_secret_in(redaction, row.otlp) else row
        return replace(row, otlp=b"", **clean)


def _redact_details(
    details: Sequence[SpanDetails | None], altered: set[int], redaction: Redaction
) -> list[SpanDetails | None]:
    """The details without secrets, marked where there were any, and where ``altered`` has the number of the span."""
    places = [
        (number, part) for number, each in enumerate(details) if each is not None for part in _PARTS if each[part]
    ]
    texts: list[Any] = [details[number][part] for number, part in places]  # type: ignore[index] # None was left out
    clean: dict[int, dict[str, str]] = {number: {} for number in altered}
    with redaction.remembering():
        for place in redaction.find_suspects(texts):
            number, part = places[place]
            redact, instead = (redaction.redact_json, "") if part in _JSON_PARTS else (redaction.redact_text, None)
            text = _guarded(redact, texts[place], instead)
            if text is not texts[place]:
                clean.setdefault(number, {})[SpanDetails._fields[part]] = text
    for number, detail in enumerate(details):
        if detail is not None and detail.otlp and number not in clean and _is_secret_in(redaction, detail.otlp):
            clean[number] = {}
    marked = list(details)
    for number, changed in clean.items():
        each = marked[number] or NO_DETAILS
        mark = _marked(each.altered, is_raw_lost=bool(each.otlp))
        marked[number] = each._replace(altered=mark, otlp=b"", **changed)  # type: ignore[arg-type] # they are texts
    return marked


def _marked(altered: str, *, is_raw_lost: bool) -> str:
    return ",".join(filter(None, (altered, RAW if is_raw_lost else "", REDACTED)))


def _is_secret_in(redaction: Redaction, message: bytes) -> bool:
    try:
        return redaction.is_secret_in(message)
    except MemoryError:
        raise
    except Exception:  # a rim, as below
        return True


def _guarded(redact: Callable[[str], str], text: str, instead: str | None = None) -> str:
    """``redact(text)``; where that fails, ``instead`` or what says so."""
    try:
        return redact(text)
    except (RecursionError, MemoryError):  # perhaps only of who helps to write: the batch is tried again
        raise
    except Exception:  # a rim: a fault of ours must neither keep a secret nor lose the span
        if instead is not None:
            return instead
        return '{"[redacted]":"[redacted]"}' if text.startswith("{") else _UNREADABLE


_DEFAULT: Final = RedactionPolicy()
