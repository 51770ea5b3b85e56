"""The pulse: one look for all who listen, told when it is another one, at once to who comes, to nobody after stop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import closing, suppress

import pytest
from serve_kit import showing
from starlette.requests import Request

from otel_perfmon import MetricsStorage
from otel_perfmon.errors import StoreError
from otel_perfmon.web import live
from otel_perfmon.web.live import LISTENERS_MAX, Pulse

PAUSE = 0.01


class Looks:
    """What is seen, and how often anybody looked."""

    def __init__(self, *seen: object) -> None:
        self.seen = list(seen)
        self.count = 0

    def __call__(self) -> dict[str, object]:
        self.count += 1
        found = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(found, Exception):
            raise found
        return {"stored": found}


class Listener:
    """Who listens to a pulse, and what was heard."""

    def __init__(self, pulse: Pulse) -> None:
        self.heard: list[int] = []
        self.is_over = False
        self._told = pulse._tell()
        self._task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for text in self._told:
            if text.startswith("event: pulse"):
                self.heard.append(json.loads(text.partition("data: ")[2])["stored"])
        self.is_over = True

    async def leave(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._told.aclose()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(live, "_LOOK_SECONDS", PAUSE)


async def until(is_true, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(PAUSE / 5)


def test_each_change_is_told_once_and_nothing_else():
    async def story():
        looks = Looks(1, 1, 2, 2, 2, 3)
        listener = Listener(Pulse(looks))
        await until(lambda: looks.count > 9)
        await listener.leave()
        return listener.heard

    assert asyncio.run(story()) == [1, 2, 3]


def test_one_look_serves_all_and_who_comes_later_is_told_at_once():
    async def story():
        looks = Looks(1)
        pulse = Pulse(looks)
        listeners = [Listener(pulse) for _ in range(50)]
        await until(lambda: all(each.heard for each in listeners))
        assert looks.count < 5
        late = Listener(pulse)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert late.heard == [1]
        for each in (*listeners, late):
            await each.leave()
        return [each.heard for each in listeners]

    assert asyncio.run(story()) == [[1]] * 50


def test_while_nobody_listens_nobody_looks():
    async def story():
        looks = Looks(1)
        pulse = Pulse(looks)
        await asyncio.sleep(5 * PAUSE)
        assert looks.count == 0
        listener = Listener(pulse)
        await until(lambda: listener.heard)
        await listener.leave()
        await asyncio.sleep(3 * PAUSE)
        before = looks.count
        await asyncio.sleep(5 * PAUSE)
        assert looks.count == before
        again = Listener(pulse)
        await until(lambda: looks.count > before)
        await again.leave()

    asyncio.run(story())


def test_it_ends_at_stop_for_who_waits_and_for_who_is_being_told():
    async def story():
        pulse = Pulse(Looks(1))
        waiting = Listener(pulse)
        await until(lambda: waiting.heard)
        told = pulse._tell()
        assert await told.__anext__() == "retry: 1000\n\n"
        assert "pulse" in await told.__anext__()  # and the browser takes its time to read it
        pulse.stop()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(told.__anext__(), 1)
        await until(lambda: waiting.is_over)
        await until(pulse._looking.done)

    asyncio.run(story())


def test_a_change_while_another_one_is_being_told_is_not_missed():
    async def story():
        looks = Looks(1)
        pulse = Pulse(looks)
        told = pulse._tell()
        await told.__anext__()
        assert '"stored": 1' in await told.__anext__()
        looks.seen[0] = 2
        await until(lambda: '"stored": 2' in pulse._told)
        assert '"stored": 2' in await asyncio.wait_for(told.__anext__(), 1)
        await told.aclose()

    asyncio.run(story())


def test_who_hears_nothing_for_long_is_told_that_we_are_here(monkeypatch):
    monkeypatch.setattr(live, "_SIGN_OF_LIFE_SECONDS", 2 * PAUSE)

    async def story():
        told = Pulse(Looks(1))._tell()
        return [await told.__anext__() for _ in range(4)][2:]

    assert asyncio.run(story()) == [": still here\n\n"] * 2


@pytest.mark.parametrize("error", [StoreError("the file is away"), RuntimeError("anything")])
def test_a_look_that_fails_ends_nothing(error):
    async def story():
        listener = Listener(Pulse(Looks(error, error, 1, error, 2)))
        await until(lambda: listener.heard == [1, 2])
        await listener.leave()

    asyncio.run(story())


def test_a_slow_look_holds_up_nobody():
    async def story():
        gate = threading.Event()
        listener = Listener(Pulse(lambda: {"stored": gate.wait(5) and 1}))
        await asyncio.sleep(3 * PAUSE)
        assert not listener.heard
        gate.set()
        await until(lambda: listener.heard == [1])
        await listener.leave()

    asyncio.run(story())


def test_who_is_one_too_many_is_sent_away():
    async def story():
        pulse = Pulse(Looks(1))
        listeners = [Listener(pulse) for _ in range(LISTENERS_MAX)]
        await until(lambda: len(pulse._listeners) == LISTENERS_MAX)
        assert (await pulse._receive(Request({"type": "http", "method": "GET"}))).status_code == 503
        await listeners.pop().leave()
        assert (await pulse._receive(Request({"type": "http", "method": "GET"}))).status_code == 200
        pulse.stop()
        await until(lambda: all(each.is_over for each in listeners))

    asyncio.run(story())


def test_a_browser_hears_of_what_is_stored_and_of_what_is_open(db_path):
    with closing(MetricsStorage(db_path)) as storage, showing(db_path, "--no-token") as served:
        storage.insert_metric("load", 1.5)
        heard = served.say(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=1.5).decode()
        assert "content-type: text/event-stream" in heard
        told = json.loads(heard.partition("event: pulse\ndata: ")[2].partition("\n")[0])
        assert (told["lost"], told["open"], told["queued"], told["forwarded"]) == (0, "", 0, 0)
        assert told["file_bytes"] > 0
