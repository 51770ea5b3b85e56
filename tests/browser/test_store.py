"""What is wrong with the store is looked for beside the page, and again when one wants it."""

from __future__ import annotations

WHEN = "() => document.querySelector('#findings time')?.dataset.unixNano"


def test_findings_come_by_themselves_and_again_when_they_are_asked_for(open_tab, little):
    tab = open_tab(little).go("/store")
    looked = tab.until(WHEN)
    tab.page.focus("#findings [data-again]")
    tab.page.keyboard.press("Enter")
    tab.until(f"() => ({WHEN})() !== '{looked}'")
    assert tab.page.evaluate("document.activeElement.hasAttribute('data-again')")
    assert tab.page.inner_text("#destinations").startswith("Sent on")
    tab.page.click("#foot >> text=lost", force=True)
    assert tab.page.url.endswith("/store")  # nothing is lost: there is no link
