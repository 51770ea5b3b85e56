"""A real browser: where it is, what must never happen in a page of ours, and how long to wait for one."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nobody else is reached, whatever a page asks for; and the name of an attacker's site is one of this machine.
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_CALM_SECONDS: Final = 0.12
_SCRIPT: Final = """
document.addEventListener("securitypolicyviolation", (event) => {
  const {violatedDirective, blockedURI, sourceFile, lineNumber, sample} = event;
  canary(`CSP: ${violatedDirective} ${blockedURI} ${sourceFile}:${lineNumber} ${sample}`);
});
"""
_HAS_PARTS: Final = """() => {
  const loaded = new Set(performance.getEntriesByType("resource").map(({name}) => new URL(name).pathname));
  return [...document.querySelectorAll("[data-part]")].every((each) =>
    loaded.has(`/static/parts/${each.dataset.part}.js`));
}"""


def launch_chromium(driver: Playwright) -> Browser:
    """Start Debian's Chromium; skip where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    return driver.chromium.launch(executable_path=path, args=list(FLAGS))


class Witness:
    """Notes in ``troubles`` what no page of ours may do, in all pages of one browser context.

    That are messages on the console, errors, violations of the Content-Security-Policy, scripts of others (they call
    ``canary``), dialogs, and requests to another address than ``url`` says.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.troubles: list[str] = []
        self.documents: list[str] = []
        """The address of each page that was loaded, not of those that were gone on to without a reload."""
        self._host = urlsplit(url).netloc
        self._forgiven: list[str] = []
        self._open: set[Request] = set()
        self._latest = 0.0
        context.on("console", self._hear_console)
        context.on("weberror", lambda error: self._note(f"error: {error.error}"))
        context.on("dialog", self._hear_dialog)
        context.on("request", self._hear_request)
        for ended in ("requestfinished", "requestfailed"):
            context.on(ended, self._hear_end)
        context.expose_binding("canary", lambda _, text="": self._note(f"canary: {text}"))
        context.add_init_script(_SCRIPT)

    def forgive(self, pattern: str) -> None:
        """Do not note what this is found in: the test brings it about."""
        self._forgiven.append(pattern)
        self.troubles[:] = [each for each in self.troubles if not re.search(pattern, each)]

    @property
    def is_calm(self) -> bool:
        """Whether nothing is asked for, and has not been for a moment."""
        return not self._open and time.monotonic() - self._latest > _CALM_SECONDS

    def _note(self, trouble: str) -> None:
        if not any(re.search(pattern, trouble) for pattern in self._forgiven):
            self.troubles.append(trouble)

    def _hear_console(self, message: ConsoleMessage) -> None:
        self._note(f"console: {message.type} {message.text} ({message.location.get('url', '')})")

    def _hear_dialog(self, dialog: Any) -> None:
        self._note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _hear_request(self, request: Request) -> None:
        if request.is_navigation_request():
            self.documents.append(request.url)
        parts = urlsplit(request.url)
        if parts.netloc != self._host and parts.scheme not in {"data", "blob", "about"}:
            self._note(f"another host: {request.url:.200}")
        if parts.path != "/events" and not parts.path.startswith("/static/"):  # the end of these is not told
            self._open.add(request)
        self._latest = time.monotonic()

    def _hear_end(self, request: Request) -> None:
        self._open.discard(request)
        self._latest = time.monotonic()


class Tab:
    """A page with its witness, and how tests go about with it. What is not here is asked of ``page``."""

    def __init__(self, page: Page, witness: Witness, url: str) -> None:
        self.page = page
        self.witness = witness
        self.url = url

    def go(self, address: str) -> Tab:
        """Open an address, or what a template of one means, and wait until it is drawn."""
        self.page.goto(self.url + address)
        return self.settle()

    def settle(self) -> Tab:
        """Wait until nothing is asked for any more."""
        self.page.wait_for_load_state("load")
        until(self._is_calm, "the page comes to rest")
        return self

    def _is_calm(self) -> bool:
        self.page.wait_for_timeout(20)  # in which Playwright hears of what happens
        return self.witness.is_calm and bool(self._ask(_HAS_PARTS, None))

    def until(self, script: str, *, seconds: float = 10, **given: Any) -> Any:
        """Ask the page again and again until the answer is true; the answer. It may navigate meanwhile."""
        return until(lambda: self._ask(script, given), script, seconds=seconds, pause=self.page.wait_for_timeout)

    def _ask(self, script: str, given: Any) -> Any:
        try:
            return self.page.evaluate(script, given)
        except Exception as error:
            if "navigation" in str(error) or "destroyed" in str(error):
                return None
            raise

    @property
    def overflow_px(self) -> int:
        """By how much the page is wider than the window, which keeps room for a scroll bar."""
        script = "Math.ceil(document.documentElement.scrollWidth - document.body.getBoundingClientRect().width)"
        return max(0, int(self.page.evaluate(script)))


def until(
    question: Callable[[], Any],
    what: str,
    *,
    seconds: float = 10,
    pause: Callable[[float], None] = lambda ms: time.sleep(ms / 1000),
) -> Any:
    """Ask until the answer is true, and return it; fail when it never is."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"after {seconds:g} s it is still not true that {what}"
        pause(20)
    return answer
