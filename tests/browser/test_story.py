"""A program that is slow, and somebody who wants to know why: by the pointer, and by the keyboard alone."""

from __future__ import annotations

import time

import pytest
from browser_kit import Tab

STACK_LINE = "wait_for_the_bank"
SLOW_COUNT = """() => [...document.querySelectorAll("#operations tr[id]")].find(
  (row) => row.textContent.includes("charge_card"))?.children[9].textContent"""
SLOWEST_CELL = """() => {
  const picture = document.querySelector("#heat svg");
  const place = picture.getBoundingClientRect();
  const drawn = [...picture.querySelectorAll("path")].map((path) => path.getAttribute("d") ?? "").join("");
  const found = [...drawn.matchAll(/M([\\d.]+) ([\\d.]+)h([\\d.]+)v([\\d.]+)/g)];
  const cells = found.map((cell) => cell.slice(1).map(Number));
  const [x, y, width, height] = cells.reduce((highest, cell) => (cell[1] < highest[1] ? cell : highest));
  return [place.x + x + width / 2, place.y + y + height / 2];
}"""
"""The middle of the highest cell of the heatmap: where the slow call is."""
FOCUS = """() => {
  const {activeElement: element} = document;
  const {outlineStyle, outlineWidth} = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {
    text: element.textContent.trim(), inMain: element.closest("main") !== null,
    isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) > 0 && box.width > 0 && box.height > 0,
    isInView: box.bottom > 0 && box.top < innerHeight, name: element.localName,
  };
}"""


def test_a_slow_call_is_followed_from_the_heatmap_to_the_stack_while_the_program_runs(
    open_tab, show, start_shop, db_path, figure
):
    start_shop("quick 3")
    tab = open_tab(show(db_path, "--no-token")).go("/?window=15m")
    page = tab.page
    page.evaluate("globalThis.story = 1")
    start_shop("steady 20")
    assert page.evaluate(SLOW_COUNT) == "0"
    start_shop("slow")
    began = time.monotonic()
    tab.until(f"() => ({SLOW_COUNT})() === '1'")
    figure("a slow call is seen on an open page after", f"{time.monotonic() - began:.1f} s", "< 5 s")
    assert time.monotonic() - began < 5
    tab.settle()
    page.mouse.click(*page.evaluate(SLOWEST_CELL))
    tab.until("() => document.querySelector('#boxed')")
    assert page.evaluate("globalThis.story") == 1
    page.click("#boxed a.slow")
    tab.settle()
    page.locator("#spans tbody tr", has_text="slow").get_by_role("link", name="charge_card").first.click()
    tab.settle()
    assert "/trace/" in page.url
    assert STACK_LINE in page.inner_text("#side")
    assert [url.partition("?")[0].removeprefix(tab.url)[:6] for url in tab.witness.documents] == [
        "/",
        "/spans",
        "/trace",
    ]


def test_the_keyboard_alone_leads_from_the_operations_to_a_stack_and_back(open_tab, little):
    tab = open_tab(little).go("/?window=all")
    tab_to(tab, "charge_card")
    press_enter(tab)
    assert tab.page.inner_text("h1") == "charge_card"
    tab_to(tab, inside="#slowest")
    press_enter(tab)
    assert "/trace/" in tab.page.url
    assert STACK_LINE in tab.page.inner_text("#side")
    for heading in ("charge_card", "Operations"):
        tab.page.go_back()
        tab.settle()
        assert tab.page.inner_text("h1") == heading


def tab_to(tab: Tab, text: str = "", inside: str = "main") -> None:
    """Press the tabulator until something with this text has the focus; each stop must be seen to have it."""
    for _ in range(120):
        tab.page.keyboard.press("Tab")
        focus = tab.page.evaluate(FOCUS)
        assert focus["isSeen"] or focus["name"] == "body", focus  # after the last the browser itself has it
        is_inside = tab.page.evaluate("(inside) => document.activeElement.closest(inside) !== null", inside)
        if is_inside and focus["name"] == "a" and text in focus["text"]:
            assert focus["isInView"]
            return
    pytest.fail(f"{text!r} never had the focus")


def press_enter(tab: Tab) -> None:
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    tab.settle()
