"""Every page in every state that is known: no error, nothing wider than the window, nothing asked of another host."""

from __future__ import annotations

import pytest
from views_kit import VIEWS, Facts

from otel_perfmon.web.pages.site import PAGES

STORES = ("empty", "little", "hostile")


def test_every_page_is_looked_at():
    assert {page.path for page in PAGES if page.template} <= {view.path for view in VIEWS}


@pytest.mark.parametrize("store", STORES)
def test_every_page_fits_and_nothing_goes_wrong_on_it(open_tab, request, store, viewport):
    served = request.getfixturevalue(store)
    tab, facts = open_tab(served, viewport=viewport), Facts.of(served.path)
    too_wide = {}
    for view in VIEWS:
        tab.go(facts.fill(view.address))
        if tab.overflow_px > 0:
            too_wide[view.name] = tab.overflow_px
    assert too_wide == {}
