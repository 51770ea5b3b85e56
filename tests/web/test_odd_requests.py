"""Requests that no page of ours sends: they are answered soon, with a status that is theirs, and tell nothing."""

from __future__ import annotations

import pytest
from serve_kit import Served, showing

from otel_perfmon import MetricsStorage

HEAD = "Host: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    with MetricsStorage(path) as storage:
        storage.insert_metric("work", 1.0)
    with showing(path, "--no-token") as served:
        yield served


def status_of(served: Served, line: str) -> int:
    return int(served.say(f"{line} HTTP/1.1\r\n{HEAD}".encode("latin-1"), timeout=10).split()[1])


@pytest.mark.parametrize(
    "path",
    [
        "../guard.py",
        "%2e%2e/guard.py",
        "..%2f..%2fserver.py",
        "%5c..%5cguard.py",
        "/etc/passwd",
        "page.js%00.css",
        "%00",
        "",
        "parts",
        "a" * 5_000,
    ],
)
def test_nothing_but_what_pages_are_made_of_is_among_their_files(served, path):
    assert status_of(served, f"GET /static/{path}") == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/store", "/events", "/spans/export"])
def test_nothing_but_reading_is_known(served, method, path):
    assert status_of(served, f"{method} {path}") == 405


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/store", "/events"])
def test_who_asks_for_the_headers_alone_gets_them_and_is_not_kept(served, path):
    heard = served.say(f"HEAD {path} HTTP/1.1\r\n{HEAD}".encode(), timeout=10)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(b"\r\n\r\n")
    assert heard.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("a" * 10_000, 200),
        ("&" * 10_000, 200),
        ("%" * 3_000, 200),
        ("find=" + "%ff%fe" * 1_000, 200),
        ("find=%ED%A0%80", 200),
        ("window=", 200),
        ("&".join(["a=1"] * 3_000), 400),
        ("unknown=1", 400),
        ("window=1h&window=2h", 400),
        ("window=1e400h", 400),
        ("window=nan", 400),
        ("window=" + "9" * 4_000 + "h", 400),
        ("box=1/2/3/4", 400),
        ("a" * 400_000, 400),
    ],
    ids=lambda each: str(each)[:20],
)
def test_a_query_is_understood_or_refused(served, query, status):
    assert status_of(served, f"GET /?{query}") == status
