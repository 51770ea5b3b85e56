"""What a page of ours holds and what it must not: its links for who walks over them, markup that is none of ours."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urljoin, urlsplit

from serve_kit import Served

_ADDRESSES: Final = ("href", "src", "action", "formaction", "poster", "data", "xlink:href", "data-src", "data-here")
_READ_OUT: Final = ("title", "aria-label", "placeholder", "alt")
_FORBIDDEN: Final = {
    "iframe",
    "frame",
    "object",
    "embed",
    "style",
    "base",
    "applet",
    "portal",
    "marquee",
    "foreignobject",
}
_HIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ID: Final = re.compile(r"/[0-9a-f]{16,32}(?=/|$)")


class Inspection(html.parser.HTMLParser):
    """Reads a page: its ``links``, and its ``troubles``: markup that only an attack can have brought into it."""

    def __init__(self, text: str, status: int = 200) -> None:
        super().__init__(convert_charrefs=True)
        self.status = status
        self.links: list[str] = []
        self.troubles: list[str] = []
        self._is_typed = False  # what somebody typed stands in its field as it is
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._is_typed = tag == "textarea"
        if tag in _FORBIDDEN or (tag == "script" and not given.get("src", "").startswith("/static/")):
            self.troubles.append(f"<{tag} {given}>")
        for name, value in given.items():
            if name.startswith("on") or name in {"style", "srcdoc", "http-equiv"}:
                self.troubles.append(f"<{tag} {name}={value!r:.80}>")
            elif name in _ADDRESSES:
                self._see_address(tag, name, value)
            elif name in _READ_OUT and _HIDDEN.search(value):
                self.troubles.append(f"hidden characters: <{tag} {name}={value!r:.80}>")

    def handle_endtag(self, tag: str) -> None:
        self._is_typed = False

    def handle_data(self, data: str) -> None:
        if not self._is_typed and (found := _HIDDEN.search(data)):
            self.troubles.append(f"hidden characters: {data[max(0, found.start() - 30) :]!r:.80}")

    def _see_address(self, tag: str, name: str, value: str) -> None:
        if re.match(r"[/\\]{2}|[^/?#]*:|\s", value):
            self.troubles.append(f"<{tag} {name}={value!r:.80}>")
        elif not value.startswith("/static/") and tag != "form":
            self.links.append(value)


def shape_of(address: str) -> str:
    """The address without what data says: which page in which kind of state it is."""
    parts = urlsplit(address)
    return f"{_ID.sub('/ID', parts.path)}?{'&'.join(sorted({name for name, _ in parse_qsl(parts.query)}))}"


def walk(served: Served, starts: list[str], *, each_max: int = 2, most: int = 400) -> Iterator[tuple[str, Inspection]]:
    """Follow every link from some addresses on, each kind of state so many times: address and what stands there."""
    waiting, seen, counts = list(starts), set(starts), {}
    for address in waiting:
        answer = served.get(address)
        assert answer.status < 500, f"{address:.300}: {answer.status} {answer.body[-300:]!r}"
        is_page = answer.media_type.startswith("text/html")
        assert is_page or answer.headers["x-content-type-options"] == "nosniff", address
        page = Inspection(answer.body.decode() if is_page else "", answer.status)
        yield address, page
        for link in page.links:
            found = urljoin(address, link).partition("#")[0]
            shape = shape_of(found)
            if found not in seen and counts.get(shape, 0) < each_max and len(waiting) < most:
                seen.add(found)
                counts[shape] = counts.get(shape, 0) + 1
                waiting.append(found)


LIVE_TROUBLES: Final = """() => [...document.querySelectorAll("*")].flatMap((element) => {
  const told = [];
  for (const {name, value} of element.attributes) {
    const isAddress = ["href", "src", "action", "formaction", "xlink:href"].includes(name);
    if (name.startsWith("on") || name === "srcdoc" || isAddress && /^\\s*(\\/\\/|[^/?#]*:)/.test(value)) {
      told.push(`<${element.localName} ${name}=${value.slice(0, 80)}>`);
    }
  }
  if (["iframe", "object", "embed", "style", "base"].includes(element.localName)
      || (element.localName === "script" && !element.getAttribute("src")?.startsWith("/static/"))) {
    told.push(`<${element.localName}>`);
  }
  return told;
})"""
"""The same of what scripts have made of a page."""

TOUCH_ALL: Final = """() => {
  addEventListener("submit", (event) => event.preventDefault(), true);
  const isLink = (element) => element.closest("a[href]") !== null;
  const touched = [...document.querySelectorAll(
    "main :is(button, summary, [role=tab], [role=treeitem], [role=button], [tabindex], svg *)")];
  for (const element of touched.filter((each) => !isLink(each)).slice(0, 400)) {
    const box = element.getBoundingClientRect();
    const given = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
    for (const type of ["pointerover", "pointermove", "mouseover", "mousemove"]) {
      element.dispatchEvent(new PointerEvent(type, given));
    }
    if (element.matches("button, summary, [role=tab], [role=treeitem], [role=button]")) {
      element.click();
    }
  }
  for (const element of document.querySelectorAll("main [tabindex], main a, main input, main select")) {
    element.focus();
  }
  return touched.length;
}"""
"""Point at everything that is drawn, press every button, give everything the focus."""
