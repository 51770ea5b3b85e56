"""Every page in every state that is known, on every store: nothing goes wrong on it, it fits, and axe is silent."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browser_kit import NARROW, Tab
from views_kit import VIEWS, Facts

from otel_perfmon.web.pages.site import PAGES

GRAVE = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_COLOURS = ["color-contrast", "link-in-text-block"]
STORES = {"empty": VIEWS[:1], "little": VIEWS, "hostile": [view for view in VIEWS if view.has_data]}


def test_every_page_is_looked_at():
    assert {page.path for page in PAGES if page.template} <= {view.path for view in VIEWS}


@pytest.mark.parametrize(
    ("store", "view"), [(store, view) for store, views in STORES.items() for view in views], ids=str
)
def test_a_page_fits_and_axe_finds_nothing_serious_dark_and_light(open_tab, request, store, view):
    served = request.getfixturevalue(store)
    tab = open_tab(served)
    if view.status != 200:
        tab.witness.forgive(f"status of {view.status}")
    tab.go(Facts.of(served.path).fill(view.address))
    tab.page.evaluate(AXE_SCRIPT)
    found: dict[str, Any] = {"too wide": tab.overflow_px, "light": axe(tab)}
    tab.page.emulate_media(color_scheme="dark")
    found["dark"] = axe(tab, *OF_COLOURS)
    tab.page.set_viewport_size(NARROW)
    tab.settle()
    found |= {"narrow, too wide": tab.overflow_px, "narrow, dark": axe(tab)}
    assert {what: trouble for what, trouble in found.items() if trouble} == {}


def axe(tab: Tab, *rules: str) -> list[str]:
    """What axe finds on the page that is serious, each with its element."""
    options = {"resultTypes": ["violations"], "runOnly": list(rules) or RULES}
    found = tab.page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['html'][:160]} {node['failureSummary']}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
