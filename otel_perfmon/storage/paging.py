"""All the spans that match a question, some at a time: no question to the store is a long one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from otel_perfmon.query import SpanQuery
from otel_perfmon.records import SpanRecord
from otel_perfmon.storage.base import SpanReader

PAGE_SPANS: Final = 512
"""So many at a time are read, and written together."""


def find_pages(
    store: SpanReader, query: SpanQuery, limit: int, on_answer: Callable[[int], object] = lambda _: None
) -> Iterator[Sequence[SpanRecord]]:
    """The spans that match, at most ``limit``, in the order of the question.

    ``on_answer`` is told after each question how many came; what it raises ends the search.
    """
    while limit:
        page = store.find_spans(replace(query, limit=min(query.limit, limit)))
        limit -= len(page)
        on_answer(len(page))
        if page.spans:
            yield page.spans
        if page.next_page_token is None or (page.is_complete and len(page) < query.limit):
            return
        query = replace(query, page_token=page.next_page_token)
