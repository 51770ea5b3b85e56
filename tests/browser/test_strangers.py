"""Pages of other sites, in a browser that is let in: whatever they try, they read nothing and nothing is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser_kit import Tab
from views_kit import Facts

from otel_perfmon.web.api.questions import QUESTIONS
from otel_perfmon.web.pages.site import PAGES

TRY = """async (targets) => {
  async function tryAll(target) {
    const read = [];
    const attempt = async (how, promise) => {
      const late = new Promise((resolve) => setTimeout(resolve, 1500, "late"));
      const found = await Promise.race([promise, late]).catch(() => null);
      if (found && found !== "late") {
        read.push(`${how}: ${target} ${String(found).slice(0, 80)}`);
      }
    };
    const element = (name, attribute, more = {}) => new Promise((resolve) => {
      const made = Object.assign(document.createElement(name), more);
      made.onload = () => resolve(name === "iframe" ? made.contentDocument?.body?.innerText : `loaded ${made.width}`);
      made.onerror = () => resolve(null);
      made[attribute] = target;
      document.body.append(made);
    });
    const told = async (response) => (await response).type !== "opaque" && (await (await response).text());
    const asked = [
      attempt("fetch", told(fetch(target))),
      attempt("fetch, as who is let in", told(fetch(target, {credentials: "include"}))),
      attempt("fetch, no-cors", told(fetch(target, {mode: "no-cors", credentials: "include"}))),
      attempt("fetch, with a token", told(fetch(target, {headers: {Authorization: "Bearer x"}}))),
      attempt("post", told(fetch(target, {method: "POST", mode: "no-cors", body: "{}"}))),
      attempt("image", element("img", "src")),
      attempt("script", element("script", "src")),
      attempt("style", element("link", "href", {rel: "stylesheet"})),
      attempt("frame", element("iframe", "src")),
      attempt("events", new Promise((resolve, reject) => {
        const source = new EventSource(target, {withCredentials: true});
        source.onopen = () => resolve("opened");
        source.onmessage = ({data}) => resolve(data);
        source.onerror = () => (source.close(), reject());
      })),
    ];
    await Promise.all(asked);
    return [asked.length, read];
  }
  const told = await Promise.all(targets.map(tryAll));
  return [told.reduce((sum, [count]) => sum + count, 0), told.flatMap(([, read]) => read)];
}"""


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    """The port of another site's server; its pages are empty."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title><body>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def addresses_of(path: str) -> list[str]:
    routes = [each.path for each in (*PAGES, *QUESTIONS)]
    facts = Facts.of(path)
    filled = [facts.fill(route) for route in routes]
    return [
        *filled,
        "/events",
        "/static/page.js",
        "/static/icon.svg",
        "/static/page.css",
        "/api/openapi.json",
        "/v1/traces",
    ]


@pytest.mark.parametrize("host", ["localhost", "evil.example", "127.0.0.1"])
def test_a_page_of_another_site_reads_nothing_at_any_address(show, open_tab, little, stranger, host, figure):
    served = show(little.path)
    tab = open_tab(served)
    tab.go(f"/?token={served.token}")  # the browser is let in
    tab.witness.forgive("")
    assert "fetch: " in str(tab.page.evaluate(TRY, [served.url + "/api/store"]))  # so would it be seen
    page = tab.page.context.new_page()
    page.goto(f"http://{host}:{stranger}/")
    read, tries = [], 0
    targets = [served.url + address for address in addresses_of(little.path)]
    for first in range(0, len(targets), 8):
        count, found = page.evaluate(TRY, targets[first : first + 8])
        tries += count
        read += found
    figure(f"a page of http://{host}: answers read, of {tries} tries at {len(targets)} addresses", len(read), "0")
    assert read == []


def test_a_name_that_was_made_ours_is_refused_every_page(open_tab, little):
    tab = open_tab(little)
    tab.witness.forgive("another host|status of 403")
    for address in addresses_of(little.path):
        response = tab.page.goto(f"http://evil.example:{little.port}{address}")
        assert response.status == 403, address
        assert "is no name of this server" in response.text()


def test_a_form_of_another_site_changes_nothing_and_its_window_stays_foreign(open_tab, little, stranger):
    tab = open_tab(little)
    tab.witness.forgive("another host|status of 40[135]|favicon")
    tab.page.goto(f"http://localhost:{stranger}/")
    submit = """(url) => {
      const form = document.createElement("form");
      Object.assign(form, {method: "post", action: url, enctype: "text/plain"});
      document.body.append(form);
      form.submit();
    }"""
    with tab.page.expect_navigation():
        tab.page.evaluate(submit, little.url + "/")
    assert "Pages of other sites may send nothing here" in tab.page.content()
    tab.page.goto(f"http://localhost:{stranger}/")
    with tab.page.context.expect_page() as opened:
        tab.page.evaluate("(url) => { globalThis.opened = open(url); }", little.url + "/?window=all")
    ours = Tab(opened.value, tab.witness, little.url)
    ours.settle()
    assert ours.page.evaluate("globalThis.opener") is None
    assert tab.page.evaluate("opened.closed || opened.length === 0")
    ours.page.close()


def test_a_browser_without_the_token_is_asked_for_it_once(show, open_tab, little):
    served = show(little.path)
    tab = open_tab(served)
    tab.witness.forgive("status of 401")
    tab.page.goto(served.url + "/?find=cart")
    assert tab.page.inner_text("h1") == "Who are you?"
    tab.page.keyboard.type("wrong")  # the field has the focus
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    assert tab.page.inner_text("h1") == "Who are you?"
    tab.page.get_by_label("Token").fill(served.token)
    with tab.page.expect_navigation():
        tab.page.keyboard.press("Enter")
    tab.settle()
    assert tab.page.inner_text("h1") == "Operations"
    assert served.token not in tab.page.url
    assert served.token not in tab.page.content()
    tab.go("/")
    assert tab.page.evaluate("document.cookie") == ""
    assert tab.page.context.cookies()[0]["name"] == f"otel_perfmon_{served.port}"


def test_two_servers_of_one_machine_do_not_let_each_other_out(show, open_tab, little):
    one, other = show(little.path), show(little.path)
    tab = open_tab(one)
    tab.witness.forgive("another host")
    for served in (one, other):
        tab.page.goto(f"{served.url}/?token={served.token}")
    for served in (one, other):
        assert tab.page.goto(served.url + "/").status == 200
