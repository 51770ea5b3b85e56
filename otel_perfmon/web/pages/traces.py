"""A trace: its tree, and one of its spans."""

from __future__ import annotations

from typing import Final

from otel_perfmon.web.pages.page import Page

PAGES: Final[tuple[Page, ...]] = ()
