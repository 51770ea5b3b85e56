"""The pages and their states as addresses: a new page or a new state is one line here, and every test looks at it."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import quote

from otel_perfmon import SpanQuery, open_store
from otel_perfmon.web.pages.site import PAGES


class View(NamedTuple):
    """A state of the page at ``path``; ``{operation}`` and the like stand for what a store holds (`Facts`)."""

    name: str
    path: str
    address: str
    status: int = 200

    def __str__(self) -> str:
        return self.name


_ALL = (
    View("operations", "/", "/?window=all"),
    View("operations-sorted", "/", "/?window=24h&sort=p95&find=a"),
    View("operations-none", "/", "/?window=all&find=no%20such%20operation"),
    View("operation", "/operation", "/operation?operation={operation}&window=all"),
    View("operation-absent", "/operation", "/operation?operation=none&window=1h", 404),
    View("trace", "/trace/{trace_id}", "/trace/{trace_id}"),
    View("trace-span", "/trace/{trace_id}", "/trace/{trace_id}?span={span_id}&find=c"),
    View("trace-flame", "/trace/{trace_id}", "/trace/{trace_id}?view=flame"),
    View("trace-table", "/trace/{trace_id}", "/trace/{trace_id}?view=table&span={span_id}"),
    View("errors", "/errors", "/errors?window=all"),
    View("spans", "/spans", "/spans?window=all"),
    View("spans-slowest", "/spans", "/spans?window=all&order=slowest&is_slow=true&operation={operation}"),
    View("spans-none", "/spans", "/spans?window=all&min_duration_ms=9e9"),
    View("running", "/running", "/running"),
    View("interrupted", "/running/interrupted", "/running/interrupted"),
    View("store", "/store", "/store"),
    View("findings", "/store/findings", "/store/findings"),
    View("destinations", "/store/destinations", "/store/destinations"),
    View("sql", "/sql", "/sql"),
    View("sql-answer", "/sql", "/sql?sql=SELECT%20*%20FROM%20spans%20LIMIT%2020"),
)
VIEWS = [view for view in _ALL if view.path in {page.path for page in PAGES}]
"""Those of pages that are there."""


class Facts(NamedTuple):
    """What addresses name, of one store."""

    operation: str = "none"
    service: str = "none"
    trace_id: str = "0" * 31 + "1"
    span_id: str = "0" * 15 + "1"

    @classmethod
    def of(cls, path: str) -> Facts:
        """Its slowest slow span's; those of nothing where there is no file."""
        if not os.path.exists(path):
            return cls()
        with open_store(path) as store:
            span = store.find_spans(SpanQuery(is_slow=True, order="slowest", limit=1))[0]
        return cls(span.name, str(span.resource.attributes["service.name"]), span.trace_id, span.span_id)

    def fill(self, address: str) -> str:
        """The address with these in their places."""
        values = {name: quote(value, safe="", errors="replace") for name, value in self._asdict().items()}
        return address.format(**values)
