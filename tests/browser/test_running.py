"""What is running grows before one's eyes, comes and goes, and what one has opened stays open."""

from __future__ import annotations

import pytest

NAMES = "() => [...document.querySelectorAll('#running th[scope=row] a')].map((each) => each.textContent)"
FIRST = """() => {
  const span = document.querySelector("#running .for");
  return [parseInt(span.textContent), parseFloat(span.parentElement.querySelector("rect").getAttribute("width"))];
}"""

PLACE = """(selector) => {
  const {x, width, height} = document.querySelector(selector).getBoundingClientRect();
  return [x, width, height];
}"""


@pytest.fixture
def shown(show, start_shop, db_path):
    """The pages of a shop in which one call goes on."""
    start_shop("quick 1")
    start_shop("open")
    return show(db_path, "--no-token")


def test_bars_and_numbers_go_on_without_the_server(open_tab, shown):
    tab = open_tab(shown).go("/running")
    tab.until(f"() => ({NAMES})().length > 0")
    tab.page.evaluate("document.body.setAttribute('data-held', '')")  # no live refresh
    (before, width), scale = tab.page.evaluate(FIRST), "document.querySelector('#running').dataset.scaleMs"
    had = tab.page.evaluate(scale)
    tab.until(f"() => ({FIRST})()[0] >= {before + 2}")
    assert tab.page.evaluate(scale) == had
    assert tab.page.evaluate(FIRST)[1] != width


def test_what_begins_and_ends_comes_and_goes_and_a_stack_stays_open(open_tab, start_shop, shown):
    tab = open_tab(shown).go("/running")
    tab.until("() => document.querySelector('#running details summary')")
    tab.page.evaluate("globalThis.mark = document.querySelector('#running details')")
    tab.page.click("#running details summary")
    assert tab.page.evaluate("mark.open")
    count = len(tab.page.evaluate(NAMES))
    start_shop("open")
    tab.until(f"() => ({NAMES})().length > {count}")
    assert tab.page.evaluate("mark.isConnected && mark.open")  # no reload, and the same
    assert tab.page.evaluate("mark.querySelector('pre').checkVisibility()")


def test_the_header_stands_where_it_stood(open_tab, shown):
    places = []
    for address in ("/?window=24h", "/running?window=24h", "/store?window=24h", "/sql?window=24h"):
        tab = open_tab(shown).go(address)
        places.append([tab.page.evaluate(PLACE, each) for each in (".find", ".seg", "#live", "#bar")])
    assert all(each == places[0] for each in places)
