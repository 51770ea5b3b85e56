"""Who sees, hears or points otherwise: axe finds nothing serious, in either theme, and the keyboard goes everywhere."""

from __future__ import annotations

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browser_kit import NARROW, WIDE
from views_kit import VIEWS, Facts

GRAVE = {"serious", "critical"}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


CONTRAST = {"color-contrast", "link-in-text-block"}


def trouble_on(tab, **only) -> list[str]:
    """What axe finds on the page, each with the element."""
    options = {"resultTypes": ["violations"], "runOnly": RULES, **only}
    found = tab.page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['html'][:160]}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


def trouble_in_each_form(tab) -> dict[str, list[str]]:
    """That of a page as it is, in the other theme, and on a narrow screen."""
    tab.page.evaluate(AXE_SCRIPT)
    tab.page.emulate_media(color_scheme="light")
    found = {"light": trouble_on(tab)}
    tab.page.emulate_media(color_scheme="dark")
    found["dark"] = trouble_on(tab, runOnly=sorted(CONTRAST))
    tab.page.set_viewport_size(NARROW)
    found["dark, narrow"] = trouble_on(tab)
    tab.page.set_viewport_size(WIDE)
    return {form: trouble for form, trouble in found.items() if trouble}


@pytest.mark.parametrize("store", ["empty", "little", "hostile"])
def test_axe_finds_nothing_serious_dark_and_light(open_tab, request, store, figure):
    served = request.getfixturevalue(store)
    tab, facts, found = open_tab(served), Facts.of(served.path), {}
    views = VIEWS if store != "empty" else VIEWS[:1]
    for view in views:
        if trouble := trouble_in_each_form(tab.go(facts.fill(view.address))):
            found[view.name] = trouble
    figure(f"axe, {store}, {len(views)} pages, dark and light: serious or critical", len(found), "0")
    assert found == {}
