"""SQL: what nobody thought of asking."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from otel_perfmon.errors import QueryError, StoreTimeoutError
from otel_perfmon.formats.csv_table import encode_csv_rows
from otel_perfmon.records import SqlRows
from otel_perfmon.web.api.parameters import text
from otel_perfmon.web.pages.address import address
from otel_perfmon.web.pages.page import Asked, Download, Page
from otel_perfmon.web.pages.sql_cells import columns_of, rows_of
from otel_perfmon.web.pages.sql_examples import EXAMPLES

ROWS_MAX: Final = 1_000
CELLS_MAX: Final = 20_000
"""Of a table: with more, a browser is busy for seconds."""
CSV_ROWS_MAX: Final = 100_000
SECONDS_MAX: Final = 5.0
_LINES: Final = (6, 24)
"""The fewest and the most lines for the statement."""
_PLAIN: Final = re.compile(r"[A-Za-z]\w*", re.ASCII)
_UNKNOWN: Final = re.compile(r"no such (?:column|table): (?:\w+\.)?(\w+)")
_SQL: Final = text("sql", "One statement that only reads, over the views.")


def _answer(asked: Asked) -> Mapping[str, Any]:
    sql = asked.get("sql", "").strip()
    views = asked.store.list_views()
    told: dict[str, Any] = {"answered": None, "error": "", "meant": [], "took_ms": 0.0}
    if sql:
        began = time.perf_counter()
        try:
            told["answered"] = _cut(asked.store.query_sql(sql, rows_max=ROWS_MAX, seconds_max=SECONDS_MAX))
        except (QueryError, StoreTimeoutError) as error:
            told |= {"error": str(error), "meant": meant(str(error), views)}
        told["took_ms"] = (time.perf_counter() - began) * 1e3
    return {
        **told,
        **_as_table(told["answered"], asked),
        "sql": sql,
        "views": {name: (f"SELECT * FROM {quoted(name)} LIMIT 100", columns) for name, columns in views.items()},
        "examples": EXAMPLES,
        "lines": max(_LINES[0], min(_LINES[1], sql.count("\n") + 2)),
        "rows_max": _rows_max(told["answered"]),
        "csv_rows_max": CSV_ROWS_MAX,
        "seconds_max": SECONDS_MAX,
    }


def _rows_max(answered: SqlRows | None) -> int:
    columns = len(answered.columns) if answered else 1
    return max(1, min(ROWS_MAX, CELLS_MAX // columns))


def _cut(answered: SqlRows) -> SqlRows:
    """As many of the rows as a page shows, which are fewer of very many columns."""
    rows_max = _rows_max(answered)
    return SqlRows(answered.columns, answered.rows[:rows_max], answered.is_complete and len(answered.rows) <= rows_max)


def _as_table(answered: SqlRows | None, asked: Asked) -> dict[str, Any]:
    def to(path: str, **parameters: Any) -> str:
        carried = {"window": asked.range.text} if path == "/operation" else {}
        return address(path, {**carried, **parameters}.items())

    if answered is None:
        return {"columns": [], "rows": []}
    return {"columns": columns_of(answered), "rows": rows_of(answered, to)}


def quoted(name: str) -> str:
    """A name as it stands in SQL."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def meant(error: str, views: Mapping[str, Sequence[str]]) -> list[str]:
    """The names that may have been meant, where SQLite knows one not."""
    found = _UNKNOWN.search(error)
    known = sorted({*views, *(name for names in views.values() for name in names)})
    return get_close_matches(found[1], known, n=3, cutoff=0.7) if found else []


def _answer_csv(asked: Asked) -> tuple[str, str, bytes]:
    answered = asked.store.query_sql(asked.get("sql", ""), rows_max=CSV_ROWS_MAX, seconds_max=SECONDS_MAX)
    name = "result.csv" if answered.is_complete else f"result-first-{CSV_ROWS_MAX}-rows.csv"
    return name, "text/csv; charset=utf-8; header=present", encode_csv_rows(answered.columns, answered.rows)


PAGES: Final = (Page("/sql", "sql.html", _answer, (_SQL,), "SQL"),)
DOWNLOADS: Final = (Download("/sql/export.csv", _answer_csv, (_SQL._replace(is_required=True),)),)
