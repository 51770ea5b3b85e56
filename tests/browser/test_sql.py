"""A statement runs by the keyboard, goes into the address, and is never lost."""

from __future__ import annotations

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def ask(tab, sql: str) -> None:
    tab.page.fill("#sql", sql)
    tab.page.keyboard.press("Control+Enter")


def test_the_keyboard_runs_a_statement_and_the_back_button_brings_it_again(open_tab, little):
    tab = open_tab(little).go("/sql")
    tab.page.evaluate("globalThis.mark = 1")
    ask(tab, "SELECT nam FROM spans")
    tab.page.wait_for_selector("#error")
    assert "Is it name?" in tab.page.inner_text("#error")
    ask(tab, "SELECT name FROM spans LIMIT 2")
    tab.page.wait_for_selector("#result table")
    assert tab.page.locator("#result tbody tr").count() == 2
    assert tab.page.evaluate("[mark, document.activeElement.id]") == [1, "sql"]
    tab.page.go_back()
    tab.page.wait_for_selector("#error")
    assert tab.page.input_value("#sql") == "SELECT nam FROM spans"


def test_a_columns_name_goes_where_the_cursor_is(open_tab, little):
    tab = open_tab(little).go("/sql")
    tab.page.fill("#sql", "SELECT  FROM spans")
    tab.page.evaluate("document.querySelector('#sql').setSelectionRange(7, 7)")
    tab.page.click("[data-insert=trace_id] >> nth=0")
    tab.page.click("[data-insert=duration_ms] >> nth=0")
    assert tab.page.input_value("#sql") == "SELECT trace_id, duration_ms FROM spans"


def test_what_is_typed_while_a_statement_runs_stays(open_tab, little):
    tab = open_tab(little).go("/sql")
    ask(tab, ENDLESS)
    tab.until("() => document.querySelector('#busy').textContent.startsWith('running for')")
    tab.page.fill("#sql", "SELECT 1")
    tab.page.wait_for_selector("#error", timeout=15_000)
    assert tab.page.input_value("#sql") == "SELECT 1"
    assert tab.page.inner_text("#busy") == ""
