"""Span data that attacks whoever looks at it: on every page, in every state and every export it stays text."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hostile_kit import ATTACKS
from inspection_kit import LIVE_TROUBLES, TOUCH_ALL, Inspection, shape_of, walk
from views_kit import VIEWS, Facts

from otel_perfmon.web.pages.site import PAGES

ASKED = (
    "/?find={}",
    "/?service={}",
    "/?sort={}",
    "/?box={}",
    "/?window={}",
    "/find?q={}",
    "/{}",
    "/?{}=1",
    "/static/{}",
    "/operation?operation={}",
    "/operation?operation={}&service={}",
    "/trace/{}",
    "/errors?operation={}",
    "/spans?operation={}&service={}",
    "/spans?attribute={}",
    "/sql?sql={}",
)
HALF = "\ud83d"
OK = 200
ROUTES = [re.compile(re.sub(r"\{\w+\}", "[^/]+", page.path)) for page in PAGES]


def starts_of(served) -> list[str]:
    facts = Facts.of(served.path)
    return [facts.fill(view.address) for view in VIEWS if view.status == OK]


def leads_to_a_page(address: str) -> bool:
    return any(route.fullmatch(urlsplit(address).path) for route in ROUTES)


def test_no_page_and_no_export_that_a_link_leads_to_has_markup_of_the_data(hostile, figure):
    found, shapes, began = {}, set(), time.monotonic()
    for address, page in walk(hostile, starts_of(hostile)):
        shapes.add(shape_of(address))
        if page.troubles:
            found[address[:200]] = page.troubles[:5]
        if page.status != OK and leads_to_a_page(address):
            found[address[:200]] = [page.status]
    took = time.monotonic() - began
    figure(
        "hostile data: pages and exports by link",
        f"{len(shapes)} kinds in {took:.1f} s, {len(found)} with markup of it",
        "0",
    )
    assert found == {}


@pytest.mark.parametrize("asked", ASKED)
def test_what_an_attack_asks_for_is_told_as_text(hostile, asked):
    found = {}
    for name, attack in {**ATTACKS, "half a pair": HALF}.items():
        given = quote(attack, safe="", errors="surrogatepass")
        answer = hostile.get(asked.format(given, given)[:12_000])
        assert answer.status < 500, (name, answer.body[-300:])
        if answer.media_type.startswith("text/html") and (troubles := Inspection(answer.body.decode()).troubles):
            found[name] = troubles
        location = answer.headers.get("location", "/")
        assert location.startswith("/")
        assert location[1:2] not in {"/", "\\"}
    assert found == {}


def test_no_script_runs_whatever_is_opened_pointed_at_and_pressed(open_tab, hostile, figure):
    tab, opened, touched, found = open_tab(hostile), 0, 0, {}
    tab.witness.forgive("the server responded with a status of 40[04]")
    for address in one_of_each_kind(hostile):
        if not hostile.get(address).media_type.startswith("text/html"):
            continue  # a download
        tab.go(address)
        touched += tab.page.evaluate(TOUCH_ALL)
        tab.settle()
        opened += 1
        if troubles := tab.page.evaluate(LIVE_TROUBLES):
            found[address[:200]] = troubles[:5]
        if tab.overflow_px > 0:
            found[f"{address[:200]} is wider"] = [tab.overflow_px]
    ran = [trouble for trouble in tab.witness.troubles if "canary" in trouble]
    figure(f"hostile data: {opened} pages opened, {touched:,} things touched: scripts run, CSP reports", len(ran), "0")
    assert found == {}
    assert ran == []


def one_of_each_kind(served) -> list[str]:
    """Addresses among which is every page with every parameter that any link has."""
    covered, chosen = set(), []
    for address, _ in walk(served, starts_of(served), each_max=1):
        parts = urlsplit(address)
        path = shape_of(parts.path)
        kinds = {(path, name) for name, _ in [*parse_qsl(parts.query), ("", "")]}
        if not parts.path.startswith(("/api/", "/events")) and not kinds <= covered:
            covered |= kinds
            chosen.append(address)
    return chosen
