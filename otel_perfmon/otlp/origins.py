"""Where spans, data points and log records come from: the rows of the resources and scopes above them."""

from __future__ import annotations

from typing import Any, Final

from otel_perfmon.otlp.messages import without
from otel_perfmon.otlp.value_decoding import Notes, encode_pairs, text_of
from otel_perfmon.storage.row_parts import make_resource_row, make_scope_row
from otel_perfmon.storage.rows import ResourceRow, ScopeRow

RAW_BYTES_MAX: Final = 4 * 1024 * 1024
"""So large a raw form is kept at most: what gRPC takes as one message, unless told otherwise."""
_SHARED_MAX: Final = 1_000


class Origins:
    """Rows of resources and scopes; those that say the same are one object, for as long as this lives."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, bytes], ResourceRow] = {}
        self._scopes: dict[tuple[str, str, str, str, bytes], ScopeRow] = {}

    def resource(self, above: Any, scopes_name: str, *, may_be_unknown: bool) -> ResourceRow:
        """The resource of a ``ResourceSpans`` or its like, whose scopes are in the field ``scopes_name``."""
        notes = Notes()
        resource = above.resource
        attributes, encoded = encode_pairs(resource.attributes, "attributes", notes)
        schema_url = text_of(above.schema_url, "schema_url", notes)
        is_whole = not (notes or resource.dropped_attributes_count or getattr(resource, "entity_refs", ()))
        raw = _raw(above, scopes_name) if may_be_unknown or not is_whole else b""
        key = encoded.text, schema_url, raw if not is_whole or _has_unknown(above, raw) else b""
        if key not in self._resources:
            _make_room(self._resources)
            self._resources[key] = make_resource_row(attributes, *key)
        return self._resources[key]

    def scope(self, above: Any, items_name: str, *, may_be_unknown: bool) -> ScopeRow:
        """The scope of a ``ScopeSpans`` or its like, whose spans are in the field ``items_name``."""
        notes = Notes()
        scope = above.scope
        encoded = encode_pairs(scope.attributes, "attributes", notes)[1].text
        texts = [text_of(text, "scope", notes) for text in (scope.name, scope.version, above.schema_url)]
        is_whole = not (notes or scope.dropped_attributes_count)
        raw = _raw(above, items_name) if may_be_unknown or not is_whole else b""
        key = (texts[0], texts[1], texts[2], encoded, raw if not is_whole or _has_unknown(above, raw) else b"")
        if key not in self._scopes:
            _make_room(self._scopes)
            self._scopes[key] = make_scope_row(*key)
        return self._scopes[key]


def _raw(above: Any, name: str) -> bytes:
    raw = without(above, name)
    return raw if len(raw) <= RAW_BYTES_MAX else b""


def _has_unknown(above: Any, raw: bytes) -> bool:
    if not raw:
        return False
    again = type(above).FromString(raw)
    again.DiscardUnknownFields()
    return bool(again.ByteSize() != len(raw))


def _make_room(shared: dict[Any, Any]) -> None:
    if len(shared) >= _SHARED_MAX:
        shared.clear()
