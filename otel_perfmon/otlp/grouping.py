"""Spans, points and logs as OTLP arranges them: by what made them, then by instrumentation scope, then in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from otel_perfmon.records import LogRecord, PointRecord, ResourceRecord, ScopeRecord, SpanRecord
from otel_perfmon.storage.attributes import encode_attributes

Key = tuple[Any, ...]


class ScopeSpans(NamedTuple):
    """The spans of one scope, or its points, or its log records."""

    scope: ScopeRecord
    spans: list[Any]


class ResourceSpans(NamedTuple):
    """Those of one resource, by scope."""

    resource: ResourceRecord
    scopes: list[ScopeSpans]


def group_items(items: Iterable[SpanRecord | PointRecord | LogRecord]) -> list[ResourceSpans]:
    """The groups in the order in which each was met first; resources and scopes are told apart by what they hold."""
    groups: dict[Key, ResourceSpans] = {}
    scopes: dict[Key, ScopeSpans] = {}
    known: dict[tuple[int, int], ScopeSpans] = {}
    for item in items:
        identity = (id(item.resource), id(item.scope))  # the item in its group keeps both alive
        group = known.get(identity)
        if group is None:
            key = resource_key(item.resource)
            whole = groups.setdefault(key, ResourceSpans(item.resource, []))
            scope_key = (*key, *_scope_key(item.scope))
            if scope_key not in scopes:
                scopes[scope_key] = ScopeSpans(item.scope, [])
                whole.scopes.append(scopes[scope_key])
            group = known[identity] = scopes[scope_key]
        group.spans.append(item)
    return list(groups.values())


def group_spans(spans: Iterable[SpanRecord]) -> list[ResourceSpans]:
    """The groups of spans."""
    return group_items(spans)


def resource_key(resource: ResourceRecord) -> Key:
    """What tells a resource from another one."""
    return encode_attributes(resource.attributes).text, resource.schema_url, resource.otlp


def _scope_key(scope: ScopeRecord) -> Key:
    return scope.name, scope.version, scope.schema_url, encode_attributes(scope.attributes).text, scope.otlp
