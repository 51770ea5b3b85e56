"""What every door makes in the same way, wherever its spans come from: rows of resources and scopes, what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_perfmon.storage.attributes import storable_text
from otel_perfmon.storage.rows import OPERATION_NAME_MAX, ResourceRow, ScopeRow

SLOW_ATTRIBUTE: Final = "perfmon.slow"
"""What a span says of itself, whatever its threshold."""
EXCEPTION_EVENT: Final = "exception"
_ERROR_TYPE: Final = "error.type"
_EXCEPTION_TYPE, _EXCEPTION_MESSAGE = "exception.type", "exception.message"


def make_resource_row(attributes: Mapping[str, Any], encoded: str, schema_url: Any, otlp: bytes = b"") -> ResourceRow:
    """The row of a resource, whose attributes are ``encoded`` already; ``otlp`` as in the row."""
    environment = attributes.get("deployment.environment.name", attributes.get("deployment.environment"))
    return ResourceRow(
        service_name=storable_text(attributes.get("service.name"), OPERATION_NAME_MAX)[0],
        service_version=storable_text(attributes.get("service.version"), OPERATION_NAME_MAX)[0],
        environment=storable_text(environment, OPERATION_NAME_MAX)[0],
        attributes=encoded,
        schema_url=storable_text(schema_url)[0],
        otlp=otlp,
    )


def make_scope_row(name: Any, version: Any, schema_url: Any, encoded: str, otlp: bytes = b"") -> ScopeRow:
    """The row of an instrumentation scope, whose attributes are ``encoded`` already; ``otlp`` as in the row."""
    return ScopeRow(storable_text(name)[0], storable_text(version)[0], storable_text(schema_url)[0], encoded, otlp)


def error_of(
    attributes: Mapping[str, Any], latest_exceptions: Iterable[Mapping[str, Any]], status_message: str
) -> tuple[str, str]:
    """The type and message of what failed: from the span itself, else from its last exception event.

    ``latest_exceptions`` are the attributes of those events, the last first.
    """
    exception = next(iter(latest_exceptions), {})
    kind = attributes.get(_ERROR_TYPE) or exception.get(_EXCEPTION_TYPE)
    message = exception.get(_EXCEPTION_MESSAGE) or status_message
    return storable_text(kind, OPERATION_NAME_MAX)[0], storable_text(message)[0]
