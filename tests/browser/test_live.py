"""A page that is left open follows the store: figures change, and nothing is disturbed that one does or looks at."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from browser_kit import until
from views_kit import VIEWS, Facts

COUNT_OF = """(name) => [...document.querySelectorAll("#operations tr[id]")].find(
  (row) => row.querySelector(".name").textContent === name)?.children[2].textContent"""
STORED = "() => document.querySelector('#foot [data-of=stored]').textContent"
SHIFTS = """() => {
  globalThis.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const moved = entry.sources.map(({node}) => node?.nodeName + "#" + (node?.id || node?.parentElement?.id));
      shifts.push([entry.value, String(moved)]);
    }
  }).observe({type: "layout-shift"});
}"""


@pytest.fixture
def shown(show, start_shop, db_path):
    """The pages of a shop that does what it is told; it has had three checkouts."""
    start_shop("quick 3")
    return show(db_path, "--no-token")


def test_figures_change_and_focus_scrolling_and_what_is_typed_stay(open_tab, start_shop, shown):
    tab = open_tab(shown, viewport={"width": 1000, "height": 300}).go("/?window=all")
    page = tab.page
    rows = "[...document.querySelectorAll('#operations tr[id]')]"
    page.evaluate(f"globalThis.mark = {rows}.find((row) => row.textContent.includes('load_cart'))")
    page.keyboard.press("/")
    page.keyboard.type("c")
    tab.until("() => location.search.includes('find=c')")
    page.keyboard.type("ar")
    page.keyboard.press("ArrowLeft")
    tab.until("() => location.search.includes('find=car')")
    page.evaluate("scrollTo(0, 120)")
    before = page.evaluate("scrollY")
    start_shop("quick 4")
    tab.until(f"() => ({COUNT_OF})('load_cart') === '7'")
    assert page.evaluate("mark.isConnected")  # no reload, and the same row
    assert page.evaluate("[document.activeElement.name, document.activeElement.value]") == ["find", "car"]
    assert page.evaluate("document.activeElement.selectionStart") == 2
    assert page.evaluate("scrollY") == before > 0
    assert page.evaluate(COUNT_OF, "POST /checkout") is None  # the filter holds


def test_the_focus_stays_on_an_operation_that_moves_among_the_others(open_tab, start_shop, shown):
    tab = open_tab(shown).go("/?window=all")
    place = """() => [...document.querySelectorAll("#operations tr[id]")].findIndex(
      (row) => row.textContent.includes("charge_card"))"""
    before = tab.page.evaluate(place)
    tab.page.get_by_role("link", name="charge_card").focus()
    start_shop("slow")  # most of the time is its own now
    tab.until(f"() => ({place})() === 0")
    assert before > 0
    assert tab.page.evaluate("document.activeElement.textContent") == "charge_card"


def test_a_frozen_page_stays_as_it_is_until_it_is_live_again(open_tab, start_shop, shown):
    tab = open_tab(shown).go("/?window=1h")
    tab.page.click("#live")
    tab.settle()
    assert re.search(r"window=[\d-]+T[^/]+/[\d-]+T", tab.page.url)
    count = tab.page.evaluate(COUNT_OF, "load_cart")
    stored = tab.page.evaluate(STORED)
    start_shop("quick 4")
    tab.until(f"() => ({STORED})() !== '{stored}'")  # the foot tells of all that is stored
    tab.page.wait_for_timeout(2_600)
    assert tab.page.evaluate(COUNT_OF, "load_cart") == count == "3"
    tab.page.click("#live")
    tab.settle()
    assert tab.page.evaluate(COUNT_OF, "load_cart") == "7"


def test_a_server_that_goes_away_is_told_and_found_again(open_tab, start_shop, shown, show, db_path):
    tab = open_tab(shown).go("/?window=all")
    tab.witness.forgive("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET")
    tab.page.evaluate("globalThis.mark = 1")
    shown.process.terminate()
    shown.process.wait(15)
    state = "() => document.getElementById('state').textContent"
    tab.until(f"() => ({state})() === 'The server does not answer'")
    assert tab.page.inner_text("#live") == "away"
    start_shop("quick 4")
    tab.page.wait_for_timeout(500)
    show(db_path, "--no-token", port=shown.port)
    tab.until(f"() => ({state})() === 'live'")
    tab.until(f"() => ({COUNT_OF})('load_cart') === '7'")
    assert tab.page.evaluate("globalThis.mark") == 1


def test_a_server_with_another_token_is_told_and_the_right_one_found_again(open_tab, show, start_shop, db_path):
    start_shop("quick 1")
    served = show(db_path, "--token", "one")
    tab = open_tab(served)
    tab.witness.forgive("ERR_|status of 401")
    tab.go("/?token=one")
    state = "() => document.getElementById('state').textContent"
    for token, told in (("other", "The server has started anew"), ("one", "live")):
        served.process.terminate()
        served.process.wait(15)
        served = show(db_path, "--token", token, port=served.port)
        tab.until(f"() => ({state})().startsWith('{told}')", seconds=20)


def test_back_goes_through_the_states_in_their_order(open_tab, little):
    tab = open_tab(little).go("/?window=all")
    tab.page.get_by_role("link", name="count").click()
    tab.settle()
    tab.page.focus("#heat svg")
    for key in ("ArrowLeft", "Shift+ArrowDown", "Enter"):
        tab.page.keyboard.press(key)
    tab.until("() => document.querySelector('#boxed')")
    boxed = tab.page.url
    tab.page.go_back()
    tab.until("() => !document.querySelector('#boxed')")
    assert "sort=count" in tab.page.url
    tab.page.go_forward()
    tab.until("() => document.querySelector('#boxed')")
    assert tab.page.url == boxed
    tab.page.go_back()
    tab.page.go_back()
    tab.until("() => location.search === '?window=all'")
    tab.until("() => document.querySelector('th.time').getAttribute('aria-sort') === 'descending'")


def test_nothing_jumps_while_figures_change(open_tab, start_shop, shown, figure):
    start_shop("steady 40")
    tab = open_tab(shown).go("/?window=15m")
    began = tab.page.evaluate(STORED)
    tab.page.evaluate(SHIFTS)
    tab.page.wait_for_timeout(5_000)
    shifts = tab.page.evaluate("shifts")
    figure("5 s of live figures: sum of layout shifts", round(sum(value for value, _ in shifts), 4), "< 0.01")
    assert tab.page.evaluate(STORED) != began
    assert sum(value for value, _ in shifts) < 0.01, shifts


def test_the_first_span_fills_a_page_that_waited_for_it(open_tab, show, start_shop, db_path):
    tab = open_tab(show(db_path, "--no-token"))
    tab.page.goto(tab.url)
    assert "Nothing has been recorded yet" in tab.page.inner_text("main")
    start_shop("quick 1")
    tab.until("() => document.querySelector('#operations') !== null")


def test_a_page_without_an_answer_comes_back_by_itself(open_tab, show, start_shop, db_path):
    tab = open_tab(show(db_path, "--no-token"))
    tab.witness.forgive("status of 503")
    Path(db_path).write_bytes(b"no database" * 1_000)
    tab.page.goto(tab.url)
    assert tab.page.inner_text("h1") == "No answer"
    os.unlink(db_path)
    start_shop("quick 1")
    tab.until("() => document.querySelector('#operations') !== null", seconds=20)


def test_times_are_in_the_readers_zone_and_exact_where_one_points(open_tab, little, figure):
    zone, seen = ZoneInfo("Asia/Tokyo"), 0
    tab, facts = open_tab(little, timezone_id="Asia/Tokyo"), Facts.of(little.path)
    for view in VIEWS:
        if view.name not in {"spans", "errors", "trace-span", "interrupted", "store"}:
            continue
        tab.go(facts.fill(view.address))
        for element in tab.page.query_selector_all("time[data-unix-nano][data-form=clock]"):
            nano = int(element.get_attribute("data-unix-nano"))
            local = datetime.fromtimestamp(nano / 1e9, timezone.utc).astimezone(zone)
            assert local.strftime("%H:%M:") in element.text_content()
            assert str(nano) in element.get_attribute("title")
            seen += 1
    labels = tab.go("/?window=all").page.locator("#heat svg text").all_text_contents()
    hours = {label.split(":")[0] for label in labels if ":" in label}
    assert hours & {datetime.fromtimestamp(time.time() - ago, zone).strftime("%H") for ago in (0, 600)}
    figure("moments seen in the zone of Tokyo", seen)


def test_more_tabs_than_a_browser_opens_connections_to_one_server_are_all_live(open_tab, start_shop, shown):
    tab = open_tab(shown).go("/?window=all")
    pages = [tab.page, *(tab.page.context.new_page() for _ in range(9))]
    for page in pages[1:]:
        page.goto(tab.url + "/?window=all")
    start_shop("quick 4")
    for page in pages:  # each is hidden behind the next: figures of the foot change there too
        until(lambda page=page: page.evaluate(STORED) == "28", "the foot tells of it", pause=page.wait_for_timeout)


def test_without_scripts_pages_have_their_figures_and_links(open_tab, little):
    tab, facts = open_tab(little, java_script_enabled=False), Facts.of(little.path)
    for view in VIEWS:
        if view.status == 200:
            tab.page.goto(tab.url + facts.fill(view.address))
            assert tab.page.locator("main h1").count() == 1, view
    tab.page.goto(tab.url + "/?window=all")
    assert tab.page.locator("#operations tbody tr").count() == 4
    tab.page.get_by_label("Filter operations by name").fill("charge")
    tab.page.get_by_role("button", name="Filter").click()
    assert tab.page.locator("#operations tbody tr").count() == 1
    tab.page.get_by_role("link", name="p95").click()
    assert "sort=p95" in tab.page.url
    assert "find=charge" in tab.page.url


def test_the_pulse_is_json_of_what_the_foot_tells(little):
    page = little.get("/").body.decode()
    foot = json.loads(re.search(r"data-foot='([^']*)'", page)[1])
    assert foot["lost"] == 0
    assert foot["stored"] > 20
