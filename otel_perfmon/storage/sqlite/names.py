"""Names, resources and scopes, stored once and referred to by number.

Ids are cached by the identity of the row objects. A cache entry is only good if the transaction that made it was
committed: the writer clears the cache whenever one was not.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, Final, NamedTuple

from otel_perfmon.storage.rows import OVERFLOW_OPERATION, PointRow, ResourceRow, ScopeRow

OPERATIONS_PER_SERVICE_MAX: Final = 2_000
OVERFLOW_SERVICE: Final = "(other services)"
OVERFLOW_SCOPE: Final = "(other scopes)"
OVERFLOW_INSTRUMENT: Final = "(other instruments)"
BYTES_MAX: Final = 32 * 1024 * 1024
"""What all names, resources and scopes may take together; those for which there is no room share the overflow ones."""
GENERATION: Final = "names_generation"
"""The fact that changes whenever ids are given up: what any process has cached is good for one generation."""
_TOUCH_SECONDS: Final = 3_600
_CACHE_MAX: Final = 20_000
_RECOUNT_SECONDS: Final = 60
_ROW_BYTES: Final = 100
"""What a row and its place in indexes take beside its texts."""
_COUNT_BYTES: Final = f"""
SELECT (SELECT total({_ROW_BYTES} + length(name || version || environment)) FROM _services)
    + (SELECT total({_ROW_BYTES} + length(attributes || schema_url) + length(otlp)) FROM _resources)
    + (SELECT total({_ROW_BYTES} + length(name || version || schema_url || attributes) + length(otlp)) FROM _scopes)
    + (SELECT total({_ROW_BYTES} + length(name || unit || description)) FROM _instruments)
    + (SELECT total({_ROW_BYTES} + length(name)) FROM _operations)
"""


class Own(NamedTuple):
    """What a span must carry itself: its name, where its operation is the overflow one; what of it has no room."""

    name: str
    lost: str


class Place(NamedTuple):
    """Where a span belongs; ``own`` is None where that tells all."""

    operation_id: int
    resource_id: int
    scope_id: int
    own: Own | None


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
        resource_id, scope_id = self._names.resource(resource), self._names.scope(scope)
        lost = self._names.lost_of(resource_id, scope_id)
        own = Own(own_name, lost) if own_name or lost else None
        found = self[key] = Place(operation_id, resource_id, scope_id, own)
        return found


class Names:
    """The ids of one file, as one connection knows them; the caller holds a transaction."""

    def __init__(self, connection: sqlite3.Connection, bytes_max: int = BYTES_MAX) -> None:
        self.now_unix_s = 0
        self.lost_count = 0
        """How many spans of the transaction have lost a resource or a scope, and nothing else."""
        self._connection = connection
        self._bytes_max = bytes_max
        self._bytes = 0
        self._counted_at_unix_s: int | None = None
        self._generation: tuple[int] | None = None
        self.clear()

    def begin(self, now_unix_s: int) -> None:
        """Before each batch: what time it is. Once an hour the ids are read anew: retention lets unused ones go."""
        if now_unix_s // _TOUCH_SECONDS != self.now_unix_s // _TOUCH_SECONDS:
            self.clear()
        self.now_unix_s = now_unix_s
        self.lost_count = 0

    def follow(self) -> bool:
        """Within the transaction: whether ids were given up since the last time, by any process; then forget all."""
        query = "SELECT value FROM _facts WHERE name = ?"
        generation = self._connection.execute(query, (GENERATION,)).fetchone()
        if generation == self._generation:
            return False
        self._generation = generation
        self.clear()
        return True

    def lost_of(self, resource_id: int, scope_id: int) -> str:
        """Which parts of a span with those ids are lost, with commas."""
        lost = ("resource" * (resource_id in self._overflow_resource_ids), "scope" * (scope_id == self._overflow_scope))
        return ",".join(filter(None, lost))

    def clear(self) -> None:
        """Forget every id."""
        self._resources: dict[ResourceRow, tuple[int, int, int]] = {}
        self._scopes: dict[ScopeRow, int] = {}
        self._operations: dict[tuple[ResourceRow, str], tuple[int, str]] = {}
        self.places = _Places(self)
        self._instruments: dict[tuple[Any, ...], int] = {}
        self._full_services: set[int] = set()
        self._overflow_ids: dict[int, int] = {}
        self._overflow_resource_ids: set[int] = set()
        self._overflow_scope = 0

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
            if len(self._scopes) >= _CACHE_MAX:
                self._scopes.clear()
            columns = {
                "hash": _hash(scope.name, scope.version, scope.schema_url, scope.attributes, *_raw(scope)),
                "name": scope.name,
                "version": scope.version,
                "schema_url": scope.schema_url,
                "attributes": scope.attributes,
                "otlp": scope.otlp,
            }
            found = self._find("_scopes", columns, ("hash",))
            if found is None:
                found = self._store_scope(columns)
            self._scopes[scope] = found
        return found

    def _store_scope(self, columns: dict[str, Any]) -> int:
        if self._has_room_for(columns):
            return self._store("_scopes", columns, ("hash",))
        texts = {"name": OVERFLOW_SCOPE, "version": "", "schema_url": "", "attributes": "{}"}
        self._overflow_scope = self._store("_scopes", {"hash": _hash(OVERFLOW_SCOPE), **texts}, ("hash",))
        return self._overflow_scope

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
            if len(self._instruments) >= _CACHE_MAX:
                self._instruments.clear()
            found = self._find("_instruments", columns, ("hash",))
            if found is None:
                if not self._has_room_for(columns):
                    columns |= {"name": OVERFLOW_INSTRUMENT, "unit": "", "description": ""}
                    columns["hash"] = _hash(resource_id, scope_id, point.kind, point.temporality, point.is_monotonic)
                found = self._store("_instruments", columns, ("hash",))
            self._instruments[key] = found
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
        service_id = self._find("_services", service, tuple(service))
        if service_id is None:
            if not self._has_room_for(service):
                service = {"name": OVERFLOW_SERVICE, "version": "", "environment": ""}
            service_id = self._store("_services", service, tuple(service))
        now = self.now_unix_s
        columns = {
            "hash": _hash(resource.attributes, resource.schema_url, *_raw(resource)),
            "service_id": service_id,
            "attributes": resource.attributes,
            "schema_url": resource.schema_url,
            "otlp": resource.otlp,
            "last_used_unix_s": now,
        }
        resource_id = self._find("_resources", columns, ("hash",))
        if resource_id is None:
            is_lost = not self._has_room_for(columns)
            if is_lost:
                columns |= {"hash": _hash("resource", service_id), "attributes": "{}", "schema_url": "", "otlp": b""}
            resource_id = self._store("_resources", columns, ("hash",))
            if is_lost:
                self._overflow_resource_ids.add(resource_id)
        self._connection.execute("UPDATE _resources SET last_used_unix_s = ? WHERE id = ?", (now, resource_id))
        return resource_id, service_id, now

    def _store_operation(self, resource: ResourceRow, name: str) -> tuple[int, str]:
        service_id = self._resource_and_service(resource)[1]
        row = self._connection.execute(
            "SELECT id FROM _operations WHERE service_id = ? AND name = ?", (service_id, name)
        ).fetchone()
        if row is not None:
            return row[0], ""
        if name == OVERFLOW_OPERATION:
            return self._overflow(service_id), ""
        columns = {"service_id": service_id, "name": name}
        if self._is_full(service_id) or not self._has_room_for(columns):
            return self._overflow(service_id), name
        return self._store("_operations", columns, ("service_id", "name")), ""

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
        found = self._find(table, columns, key)
        assert found is not None
        return found

    def _find(self, table: str, columns: dict[str, Any], key: tuple[str, ...]) -> int | None:
        condition = " AND ".join(f"{name} = ?" for name in key)
        query = f"SELECT id FROM {table} WHERE {condition}"
        row = self._connection.execute(query, tuple(columns[name] for name in key)).fetchone()
        return int(row[0]) if row else None

    def _has_room_for(self, columns: dict[str, Any]) -> bool:
        """Whether a new row fits into what all of them may take, which is counted anew each minute."""
        counted_at = self._counted_at_unix_s
        if counted_at is None or abs(self.now_unix_s - counted_at) >= _RECOUNT_SECONDS:
            self._bytes = int(self._connection.execute(_COUNT_BYTES).fetchone()[0])
            self._counted_at_unix_s = self.now_unix_s
        if self._bytes >= self._bytes_max:
            return False
        texts = (value for value in columns.values() if isinstance(value, str))
        self._bytes += _ROW_BYTES + sum(map(len, texts)) + len(columns.get("otlp", b""))
        return True


def _raw(row: ResourceRow | ScopeRow) -> tuple[bytes, ...]:
    """What tells rows with a raw form apart; nothing of others, whose hashes are those of older versions."""
    return (row.otlp,) if row.otlp else ()


def _hash(*parts: Any) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
