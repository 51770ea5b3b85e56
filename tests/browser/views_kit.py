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
    """With which it is answered."""
    has_data: bool = True
    """Whether there is anything of the store's own text on it."""

    def __str__(self) -> str:
        return self.name


_ALL = (
    View("operations", "/", "/?window=all"),
    View("operations-sorted", "/", "/?window=24h&sort=p95&find=a"),
    View("operations-none", "/", "/?window=all&find=no%20such%20operation", has_data=False),
    View("operation", "/operation", "/operation?operation={operation}&window=all"),
    View("operation-absent", "/operation", "/operation?operation=none&window=1h", 404, has_data=False),
    View("trace", "/trace/{trace_id}", "/trace/{trace_id}"),
    View("trace-span", "/trace/{trace_id}", "/trace/{trace_id}?span={span_id}&find=c"),
    View("trace-flame", "/trace/{trace_id}", "/trace/{trace_id}?view=flame"),
    View("trace-table", "/trace/{trace_id}", "/trace/{trace_id}?view=table&span={span_id}"),
    View("errors", "/errors", "/errors?window=all"),
    View("spans", "/spans", "/spans?window=all"),
    View("spans-slowest", "/spans", "/spans?window=all&order=slowest&is_slow=true&operation={operation}"),
    View("spans-none", "/spans", "/spans?window=all&min_duration_ms=9e9", has_data=False),
    View("running", "/running", "/running"),
    View("interrupted", "/running/interrupted", "/running/interrupted"),
    View("store", "/store", "/store"),
    View("findings", "/store/findings", "/store/findings", has_data=False),
    View("destinations", "/store/destinations", "/store/destinations", has_data=False),
    View("sql", "/sql", "/sql", has_data=False),
    View("sql-answer", "/sql", "/sql?sql=SELECT%20name,service,attributes%20FROM%20spans%20LIMIT%2020"),
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
        """Those of the slowest slow span that another one called; of nothing where there is no file."""
        if not os.path.exists(path):
            return cls()
        with open_store(path) as store:
            found = store.find_spans(SpanQuery(is_slow=True, order="slowest"))
        span = next(each for each in found if each.parent_span_id and each.name.strip())
        return cls(span.name, str(span.resource.attributes["service.name"]), span.trace_id, span.span_id)

    def fill(self, address: str) -> str:
        """The address with these in their places."""
        values = {name: quote(value, safe="", errors="replace") for name, value in self._asdict().items()}
        return address.format(**values)
