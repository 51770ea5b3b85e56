"""Every page as pictures, for people to look at: wide and narrow, dark and light, with nothing and with a little."""

from __future__ import annotations

from pathlib import Path

import pytest
from views_kit import VIEWS, Facts

STORES = {"empty": VIEWS[:1], "little": VIEWS, "hostile": VIEWS}


@pytest.mark.parametrize("store", STORES)
def test_every_page_is_drawn(open_tab, request, viewport, store, figure):
    if not (folder := request.config.option.screenshots):
        pytest.skip("no pictures are wanted: --screenshots FOLDER")
    folder = Path(request.config.invocation_params.dir, folder, store)
    folder.mkdir(parents=True, exist_ok=True)
    served = request.getfixturevalue(store)
    tab, facts = open_tab(served, viewport=viewport), Facts.of(served.path)
    tab.witness.forgive("status of 404")
    for view in STORES[store]:
        tab.go(facts.fill(view.address))
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme)
            tab.page.screenshot(path=folder / f"{view.name}-{viewport['width']}-{scheme}.png")
    figure(f"pictures at {folder}", len(list(folder.iterdir())))
