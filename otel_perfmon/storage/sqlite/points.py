"""Metric data points into their table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from otel_perfmon.storage.rows import PointRow
from otel_perfmon.storage.sqlite.names import Names
from otel_perfmon.storage.sqlite.statements import run_multirow


def insert_points(connection: sqlite3.Connection, names: Names, points: Sequence[PointRow]) -> None:
    """Insert data points; the caller holds a transaction."""
    values: list[Any] = []
    for point in points:
        values += (names.instrument(point), names.now_unix_s)
        values += (point.start_unix_nano, point.time_unix_nano, point.attributes, point.data)
    columns = "instrument_id, arrived_unix_s, start_unix_nano, time_unix_nano, attributes, data"
    run_multirow(connection, f"INSERT INTO _points ({columns})", 6, values)
