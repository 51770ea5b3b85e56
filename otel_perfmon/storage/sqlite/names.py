"""Names, resources and scopes, stored once and referred to by number.

Ids are cached by the identity of the row objects. A cache entry is only good if the transaction that made it was
committed: the writer clears the cache whenever one was not.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, Final, NamedTuple

from otel_perfmon.storage.rows import PointRow, ResourceRow, ScopeRow

OPERATIONS_PER_SERVICE_MAX: Final = 2_000
OVERFLOW_OPERATION: Final = "(other operations)"
_TOUCH_SECONDS: Final = 3_600
_CACHE_MAX: Final = 20_000


class Place(NamedTuple):
    """Where a span belongs; ``own_name`` is the name it must carry itself, where its operation is the overflow one."""

    operation_id: int
    resource_id: int
    scope_id: int
    own_name: str


class _Places(dict[tuple[str, ResourceRow, ScopeRow], Place]):
    """The places of names, resources and scopes; what is missing is looked up in the file."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, key: tuple[str, ResourceRow, ScopeRow]) -> Place:
        if len(self) >= _CACHE_MAX:
            self.clear()
        name, resource, scope = key
        operation_id, own_name = self._names.operation(resource, name)
        found = self[key] = Place(operation_id, self._names.resource(resource), self._names.scope(scope), own_name)
        return found


class Names:
    """The ids of one file, as one connection knows them; the caller holds a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.now_unix_s = 0
        self._connection = connection
        self.clear()

    def begin(self, now_unix_s: int) -> None:
        """Before each batch: what time it is. Once an hour the ids are read anew: retention lets unused ones go."""
        if now_unix_s // _TOUCH_SECONDS != self.now_unix_s // _TOUCH_SECONDS:
            self.clear()
        self.now_unix_s = now_unix_s

    def clear(self) -> None:
        """Forget every id."""
        self._resources: dict[ResourceRow, tuple[int, int, int]] = {}
        self._scopes: dict[ScopeRow, int] = {}
        self._operations: dict[tuple[ResourceRow, str], tuple[int, str]] = {}
        self.places = _Places(self)
        self._instruments: dict[tuple[Any, ...], int] = {}
        self._full_services: set[int] = set()
        self._overflow_ids: dict[int, int] = {}

    def operation(self, resource: ResourceRow, name: str) -> tuple[int, str]:
        """The id of an operation, and the name a span must carry itself where that is the overflow one."""
        key = (resource, name)
        found = self._operations.get(key)
        if found is None:
            if len(self._operations) >= _CACHE_MAX:
                self._operations.clear()
            found = self._operations[key] = self._store_operation(resource, name)
        return found

    def resource(self, resource: ResourceRow) -> int:
        """The id of a resource; takes note, once an hour, that it is in use."""
        return self._resource_and_service(resource)[0]

    def scope(self, scope: ScopeRow) -> int:
        """The id of an instrumentation scope."""
        found = self._scopes.get(scope)
        if found is None:
            columns = {
                "hash": _hash(scope.name, scope.version, scope.schema_url, scope.attributes),
                "name": scope.name,
                "version": scope.version,
                "schema_url": scope.schema_url,
                "attributes": scope.attributes,
            }
            found = self._scopes[scope] = self._store("_scopes", columns, ("hash",))
        return found

    def instrument(self, point: PointRow) -> int:
        """The id of a metric instrument."""
        described = (point.instrument, point.kind, point.unit, point.description, point.temporality, point.is_monotonic)
        key = (point.resource, point.scope, described)
        found = self._instruments.get(key)
        if found is None:
            resource_id, scope_id = self.resource(point.resource), self.scope(point.scope)
            names = ("name", "kind", "unit", "description", "temporality", "is_monotonic")
            columns = {"hash": _hash(resource_id, scope_id, *described), "resource_id": resource_id}
            columns |= {"scope_id": scope_id, **dict(zip(names, described, strict=True))}
            found = self._instruments[key] = self._store("_instruments", columns, ("hash",))
        return found

    def _resource_and_service(self, resource: ResourceRow) -> tuple[int, int, int]:
        found = self._resources.get(resource)
        if found is None or self.now_unix_s - found[2] > _TOUCH_SECONDS:
            if len(self._resources) >= _CACHE_MAX:
                self._resources.clear()
            found = self._resources[resource] = self._store_resource(resource)
        return found

    def _store_resource(self, resource: ResourceRow) -> tuple[int, int, int]:
        service = {"name": resource.service_name, "version": resource.service_version}
        service["environment"] = resource.environment
        service_id = self._store("_services", service, tuple(service))
        now = self.now_unix_s
        columns = {
            "hash": _hash(resource.attributes, resource.schema_url),
            "service_id": service_id,
            "attributes": resource.attributes,
            "schema_url": resource.schema_url,
            "last_used_unix_s": now,
        }
        resource_id = self._store("_resources", columns, ("hash",))
        self._connection.execute("UPDATE _resources SET last_used_unix_s = ? WHERE id = ?", (now, resource_id))
        return resource_id, service_id, now

    def _store_operation(self, resource: ResourceRow, name: str) -> tuple[int, str]:
        service_id = self._resource_and_service(resource)[1]
        row = self._connection.execute(
            "SELECT id FROM _operations WHERE service_id = ? AND name = ?", (service_id, name)
        ).fetchone()
        if row is not None:
            return row[0], ""
        if self._is_full(service_id):
            return self._overflow(service_id), name
        return self._store("_operations", {"service_id": service_id, "name": name}, ("service_id", "name")), ""

    def _overflow(self, service_id: int) -> int:
        if service_id not in self._overflow_ids:
            columns = {"service_id": service_id, "name": OVERFLOW_OPERATION, "is_overflow": 1}
            self._overflow_ids[service_id] = self._store("_operations", columns, ("service_id", "name"))
        return self._overflow_ids[service_id]

    def _is_full(self, service_id: int) -> bool:
        """Whether a service has no room for another operation; other processes fill it too."""
        if service_id not in self._full_services:
            query = "SELECT count(*) FROM _operations WHERE service_id = ? AND is_overflow = 0"
            if self._connection.execute(query, (service_id,)).fetchone()[0] < OPERATIONS_PER_SERVICE_MAX:
                return False
            self._full_services.add(service_id)
        return True

    def _store(self, table: str, columns: dict[str, Any], key: tuple[str, ...]) -> int:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        self._connection.execute(
            f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})",
            tuple(columns.values()),
        )
        condition = " AND ".join(f"{name} = ?" for name in key)
        query = f"SELECT id FROM {table} WHERE {condition}"
        return int(self._connection.execute(query, tuple(columns[name] for name in key)).fetchone()[0])


def _hash(*parts: Any) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
