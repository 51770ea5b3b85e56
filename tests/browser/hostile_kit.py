"""Spans, logs and a running program whose every text is an attack on the page that shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from serve_kit import Served

CANARY = "canary"
"""What each attack calls; a page of ours has such a function, which tells the test."""
ATTACKS = {
    "image": "<img src=x onerror=canary('image')>",
    "script": "</script><script>canary('script')</script>",
    "attribute": "\"'><svg onload=canary('attribute')>",
    "handler": '" onmouseover="canary(\'handler\')" onfocus="canary(\'focus\')" autofocus tabindex=1 x="',
    "raw text": "</textarea></title></style></noscript></template><iframe srcdoc='<script>parent.canary(1)</script>'>",
    "address": "javascript:canary('address')",
    "spaced address": " java\tscript:canary('spaced')//",
    "data address": "data:text/html,<script>opener.canary(1)</script>",
    "other host": "//evil.example/x?<link rel=stylesheet href=//evil.example/y>",
    "template": "{{ self.__init__.__globals__ }}{% raw %}${canary('template')}<%= 1 %>",
    "separators": "a\u2028canary('line')\u2029b\x85c",
    "directions": "\u202ecod.exe\u2066\u2069\u200f\u061c\u202d",
    "terminal": "\x1b[31mred\x1b]8;;http://evil.example\x07\x1b[2J",
    "controls": "nul \x00 bell \x07 del \x7f",
    "wide": "W" * 10_000,
    "stacked": "Z" + "\u0334\u0335\u0310" * 300,
    "emoji": "👩‍👩‍👧‍👦" * 50,
    "quotes": "'; DROP TABLE _spans; -- \\\" ` &amp; &lt;",
    "path": "../../../etc/passwd?x=1#y&z=2%00%2e",
    "empty": "",
    "space": "   ",
}
OPEN = """
import json, sys, time
from contextlib import ExitStack
import otel_perfmon
texts = json.load(sys.stdin)
monitor = otel_perfmon.configure(sys.argv[1], service_name=texts[0], slow_threshold_ms=20)
with ExitStack() as stack:
    for text in filter(None, texts):
        stack.enter_context(monitor.monitor(text, attributes={text: text}))
    time.sleep(1.5)  # after a second they are told to others
    monitor.force_flush()
    print("open", flush=True)
    time.sleep(3_600)
"""
"""A program that keeps a call of every attack open."""
TRACE_ID = "ab" * 16
SECOND = 10**9


@contextmanager
def hostile_calls(path: str) -> Iterator[None]:
    """For a block, a program has a call of every attack open, and another had them open when it was killed."""
    command, texts = [sys.executable, "-c", OPEN, path], json.dumps(list(ATTACKS.values()))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    programs = [subprocess.Popen(command, **pipes, cwd=os.path.dirname(path)) for _ in range(2)]
    try:
        for program in programs:
            program.stdin.write(texts)
            program.stdin.close()
        for program in programs:
            assert program.stdout.readline() == "open\n"
        programs[0].kill()
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()
            program.stdout.close()


def post_hostile(served: Served) -> None:
    """Have a receiver store a trace of every attack, each in every field of a span, and log records of the same."""
    now = time.time_ns()
    resources, logs = [], []
    for number, text in enumerate(ATTACKS.values()):
        resource, scope = _resource(text), {"name": text, "version": text, "attributes": _attributes(text)}
        resources.append({"resource": resource, "scopeSpans": [{"scope": scope, "spans": _spans(number, text, now)}]})
        record = {
            "timeUnixNano": str(now - SECOND // 2),
            "severityNumber": 17,
            "severityText": text,
            "body": {"stringValue": text},
            "traceId": TRACE_ID,
            "spanId": f"{number + 1:016x}",
            "attributes": [*_attributes(text), *_exception(text)],
        }
        logs.append({"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record]}]})
    _post(served, "/v1/traces", {"resourceSpans": resources})
    _post(served, "/v1/logs", {"resourceLogs": logs})


def _post(served: Served, path: str, body: dict[str, Any]) -> None:
    answer = served.post(json.dumps(body).encode(), path)
    assert answer.status == 200, answer.body
    assert answer.json() == {}, answer.body  # none of them was refused


def _resource(text: str) -> dict[str, Any]:
    return {"attributes": [_attribute("service.name", text), *_attributes(text)]}


def _spans(number: int, text: str, now: int) -> list[dict[str, Any]]:
    """The attack as a call that failed slowly, below the first of them, and as one in a trace of its own."""
    span = {
        "traceId": TRACE_ID,
        "spanId": f"{number + 1:016x}",
        "parentSpanId": f"{1:016x}" if number else "",
        "name": text,
        "kind": 2,
        "startTimeUnixNano": str(now - 5 * SECOND + number * 20_000_000),
        "endTimeUnixNano": str(now - SECOND + number * 20_000_000),
        "attributes": _attributes(text),
        "events": [
            {"name": text, "timeUnixNano": str(now - SECOND), "attributes": _attributes(text)},
            {"name": "exception", "timeUnixNano": str(now - SECOND), "attributes": _exception(text)},
            {
                "name": "perfmon.stack",
                "timeUnixNano": str(now - SECOND),
                "attributes": [_attribute("code.stacktrace", text), _attribute("thread.name", text)],
            },
        ],
        "links": [{"traceId": "cd" * 16, "spanId": "ef" * 8, "traceState": text, "attributes": _attributes(text)}],
        "traceState": text,
        "status": {"code": 2, "message": text},
    }
    alone = {**span, "traceId": f"{number + 1:032x}", "parentSpanId": "", "kind": number % 6}
    return [span, alone]


def _attributes(text: str) -> list[dict[str, Any]]:
    return [
        _attribute(text, text),
        _attribute("url.full", text),
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": text}] * 3}}},
        {"key": "map", "value": {"kvlistValue": {"values": [_attribute(text, text)]}}},
    ]


def _exception(text: str) -> list[dict[str, Any]]:
    keys = ("exception.type", "exception.message", "exception.stacktrace")
    return [_attribute(key, f"{text}\n{text}" if key == "exception.stacktrace" else text) for key in keys]


def _attribute(key: str, text: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": text}}
