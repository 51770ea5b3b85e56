"""The pages of spans and of errors in a real browser: found by keyboard and by typing, calm while spans end."""

from __future__ import annotations

from browser_kit import Tab

ROWS = "document.querySelectorAll('#spans tbody tr')"
FIRST = f"{ROWS}[0].id"
CHOSEN = f"[...{ROWS}].findIndex((row) => row.contains(document.activeElement))"
UNDER = "document.elementFromPoint(400, 300)?.closest('tr')?.id"
FRESH = "document.querySelector('.fresh:not([hidden])')?.textContent"


def spans(open_tab, served, query: str = "window=15m") -> Tab:
    tab = open_tab(served).go(f"/spans?{query}")
    tab.page.evaluate("window.isSame = true")  # gone after a reload
    return tab


def is_same(tab: Tab) -> bool:
    return bool(tab.page.evaluate("window.isSame === true"))


def operations(tab: Tab) -> set[str]:
    return set(tab.page.evaluate("[...document.querySelectorAll('#spans a.opens')].map((each) => each.textContent)"))


def test_the_form_filters_as_one_types_without_a_reload(open_tab, little):
    tab = spans(open_tab, little)
    tab.page.fill("input[name=operation]", "charge_card")
    tab.until("new URL(location).searchParams.get('operation') === 'charge_card'")
    tab.settle()
    assert operations(tab) == {"charge_card"}
    tab.page.click("#more summary")
    tab.page.fill("input[name=min_duration_ms]", "60ms")
    tab.page.keyboard.press("Enter")
    tab.until("document.querySelectorAll('.chip').length === 3")  # and the one that removes all
    assert is_same(tab)
    tab.page.click(".chip >> nth=0")
    tab.until("!new URL(location).searchParams.has('operation')")
    assert is_same(tab)


def test_a_part_of_a_name_and_half_a_duration_are_not_asked_for(open_tab, little):
    tab = spans(open_tab, little)
    tab.page.type("input[name=operation]", "charge")
    tab.page.wait_for_timeout(300)
    assert "operation=" not in tab.page.url
    tab.page.fill("input[name=operation]", "")
    tab.page.click("#more summary")
    tab.page.type("input[name=min_duration_ms]", "6x")
    tab.page.keyboard.press("Tab")
    tab.page.wait_for_timeout(300)
    assert "min_duration_ms" not in tab.page.url


def test_attributes_are_added_one_by_one_and_become_columns(open_tab, little):
    tab = spans(open_tab, little)
    tab.page.click("#more summary")
    for number, asked in enumerate(("user=ada", "order.id=A-1"), 1):
        tab.page.fill("input[name=attribute]", asked)
        tab.page.keyboard.press("Enter")
        tab.until(f"new URL(location).searchParams.getAll('attribute').length === {number}")
    tab.settle()
    assert operations(tab) == {"POST /checkout"}
    tab.page.click("#columns summary")
    tab.page.click("#choices >> text=order.id")
    tab.until("new URL(location).searchParams.get('columns') === 'order.id'")
    assert is_same(tab)
    tab.until("document.querySelector('#spans thead').textContent.includes('order.id')")
    tab.page.keyboard.press("Escape")
    assert not tab.page.evaluate("document.querySelector('#columns').open")


def test_rows_are_walked_and_opened_by_keyboard_and_by_a_click(open_tab, little):
    tab = spans(open_tab, little)
    for key, expected in (("j", 0), ("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("k", 0)):
        tab.page.keyboard.press(key)
        assert tab.page.evaluate(CHOSEN) == expected
    trace_id, span_id = tab.page.evaluate(FIRST).split("-")[1:3]
    tab.page.keyboard.press("Enter")
    tab.until(f"location.pathname === '/trace/{trace_id}' && location.search.includes('span={span_id}')")
    tab.page.go_back()
    tab.settle()
    tab.page.click("#spans tbody tr >> nth=0 >> td >> nth=0")
    tab.until(f"location.pathname === '/trace/{trace_id}'")


def test_rows_follow_but_not_under_the_pointer(open_tab, show, db_path, start_shop):
    start_shop("quick 40")
    served = show(db_path, "--no-token")
    tab = spans(open_tab, served)
    first = tab.page.evaluate(FIRST)
    start_shop("quick 1")
    tab.until(f"{FIRST} !== '{first}'")
    tab.page.mouse.move(400, 300)
    first, under = tab.page.evaluate(FIRST), tab.page.evaluate(UNDER)
    start_shop("quick 1")
    assert tab.until(FRESH) == "4 new"
    assert (tab.page.evaluate(FIRST), tab.page.evaluate(UNDER)) == (first, under)
    tab.page.mouse.move(400, 60)
    start_shop("quick 1")
    tab.until(f"{FIRST} !== '{first}'")
    assert tab.page.evaluate(FRESH) is None


def test_who_pauses_sees_how_many_came_and_catches_up(open_tab, show, db_path, start_shop):
    start_shop("quick 30")
    tab = spans(open_tab, show(db_path, "--no-token"))
    tab.page.click("text=Pause")
    first = tab.page.evaluate(FIRST)
    start_shop("quick 2")
    assert tab.until(FRESH) == "8 new"
    assert tab.page.evaluate(FIRST) == first
    tab.page.click(".fresh")
    tab.until(f"{FIRST} !== '{first}'")
    tab.page.click("text=Follow")
    first = tab.page.evaluate(FIRST)
    start_shop("quick 1")
    tab.until(f"{FIRST} !== '{first}'")


def test_an_older_page_stays(open_tab, show, db_path, start_shop):
    start_shop("quick 40")
    tab = spans(open_tab, show(db_path, "--no-token"))
    tab.page.click("#further")
    tab.settle()
    first = tab.page.evaluate(FIRST)
    start_shop("quick 1")
    tab.page.wait_for_timeout(2_500)
    assert tab.page.evaluate(FIRST) == first
    assert not tab.page.is_visible("text=Pause")


def test_a_file_of_what_is_shown_is_saved(open_tab, little):
    tab = spans(open_tab, little, "window=all&operation=charge_card")
    for name, ending in (("OTLP JSON", ".jsonl"), ("CSV", ".csv")):
        with tab.page.expect_download() as started:
            tab.page.click(f"text={name}")
        assert started.value.suggested_filename.endswith(ending)
        with open(started.value.path(), encoding="utf-8") as file:
            assert "charge_card" in file.read()


def test_an_error_opens_by_keyboard_and_shows_its_stack_without_a_reload(open_tab, little):
    tab = open_tab(little).go("/errors?window=15m")
    tab.page.evaluate("window.isSame = true")
    tab.page.keyboard.press("j")
    tab.page.keyboard.press("Enter")
    tab.until("document.querySelector('#errors .stack')?.textContent.includes('BankError')")
    assert is_same(tab)
    assert "group=" in tab.page.url
    tab.page.go_back()
    tab.until("!document.querySelector('#errors .detail')")
    tab.page.fill("#filters input[type=search]", "charge")
    tab.until("new URL(location).searchParams.get('find') === 'charge'")
    assert is_same(tab)
