"""SQL: what nobody thought of asking."""

from __future__ import annotations

from typing import Final

from otel_perfmon.web.pages.page import Download, Page

PAGES: Final[tuple[Page, ...]] = ()
DOWNLOADS: Final[tuple[Download, ...]] = ()
