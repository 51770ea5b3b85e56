"""Spans: by any mark of theirs."""

from __future__ import annotations

from typing import Final

from otel_perfmon.web.pages.page import Page

PAGES: Final[tuple[Page, ...]] = ()
