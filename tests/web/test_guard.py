"""Who may speak to the server: this machine's names, and no page of another site."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from serve_kit import JSON, Served, serving

from otel_perfmon.config import resolve_config
from otel_perfmon.errors import ConfigError
from otel_perfmon.server import Address, run_server
from otel_perfmon.web.api.questions import QUESTIONS
from otel_perfmon.web.guard import check_exposure, host_name_of
from otel_perfmon.web.pages.site import PAGES

PAGES_READ = tuple(f"GET {re.sub('{.*?}', '1' * 32, each.path)}" for each in (*PAGES, *QUESTIONS))
SENDING = ("POST /v1/traces", "POST /v1/metrics", "POST /v1/logs")
READING = (*PAGES_READ, "GET /events", "GET /static/page.js", "GET /api/openapi.json", "GET /v1/traces", "GET /nowhere")
ROUTES = (*SENDING, *READING, "POST /nowhere", "POST /", "HEAD /", "OPTIONS /api/spans")
EVIL = (
    "evil.example",
    "evil.example:4318",
    "localhost.evil.example",
    "127.0.0.1.evil",
    "evil.example.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "[::]",
    "[::ffff:8.8.8.8]",
    "[::1",
    "[::1]evil",
    "localhost:evil",
    "localhost:99999",
    "localhost:" + "0" * 4_301,
    "localhost:" + "9" * 8_000,
    "localhost@evil.example",
    "evil.example#localhost",
    "10.0.0.1",
    "",
)
OURS = ("localhost", "LOCALHOST:1", "localhost.", "127.0.0.1", "127.0.0.1:4318", "127.5.5.5", "[::1]:80", "perfmon.lan")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    with serving(path, "--no-grpc", "--allow-host", "Perfmon.LAN:24918") as served:
        yield served


def status_of(served: Served, route: str, head: str, body: str = "{}") -> int:
    method, _, path = route.partition(" ")
    rest = f"Content-Type: {JSON}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    return int(served.say(f"{method} {path} HTTP/1.1\r\n{head}{rest}".encode()).split()[1])


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_to_a_name_that_is_not_ours(served, route):
    refused = {host: status_of(served, route, f"Host: {host}\r\n") for host in EVIL}
    assert {host: status for host, status in refused.items() if status not in {400, 403}} == {}


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_answers_to_two_hosts_to_none_or_to_another_in_the_target(served, route):
    assert status_of(served, route, "Host: localhost\r\nHost: localhost\r\n") == 400
    assert status_of(served, route, "Host: localhost\r\nHost: evil.example\r\n") == 400
    assert status_of(served, route, "") == 400
    method, _, path = route.partition(" ")
    assert status_of(served, f"{method} http://evil.example{path}", "Host: localhost\r\n") == 400
    old = served.say(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
    assert old.split()[1] == b"400"


def test_our_own_names_are_answered_to(served):
    found = {host: status_of(served, "POST /v1/traces", f"Host: {host}\r\n") for host in OURS}
    assert found == dict.fromkeys(OURS, 200)


@pytest.mark.parametrize(
    "told",
    [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: http://localhost:3000",
        "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
    ],
)
def test_what_a_page_of_another_site_sends_is_refused(served, told):
    statuses = {route: status_of(served, route, f"Host: localhost:9\r\n{told}\r\n") for route in ROUTES}
    assert {route: status for route, status in statuses.items() if status != 403} == {}


@pytest.mark.parametrize(
    "frame", ["iframe", "image", "script", "object", "empty", "document\r\nSec-Fetch-Dest: iframe"]
)
def test_what_a_page_of_another_site_takes_for_its_own_is_refused(served, frame):
    told = f"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: {frame}\r\n"
    assert {status_of(served, route, f"Host: localhost:9\r\n{told}") for route in READING} == {403}


def test_a_link_from_another_site_leads_here_as_far_as_the_token_goes(served):
    told = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    assert status_of(served, "GET /", f"Host: localhost:9\r\n{told}") == 401
    assert status_of(served, "GET /static/page.js", f"Host: localhost:9\r\n{told}") == 200
    assert {status_of(served, route, f"Host: localhost:9\r\n{told}") for route in (*SENDING, "POST /")} == {403}


@pytest.mark.parametrize("told", ["Origin: http://localhost:9", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"])
def test_what_our_own_page_sends_passes(served, told):
    assert status_of(served, "POST /v1/traces", f"Host: localhost:9\r\n{told}\r\n") == 200


def test_a_token_is_asked_of_everybody(tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with serving(str(tmp_path / "metrics.db"), "--no-grpc", "--host", "0.0.0.0", "--token-file", str(token)) as served:
        for wrong in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}, {"Authorization": ""}):
            answer = served.post(b"{}", **wrong)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert served.post(b"{}", Authorization="Bearer s3cret").status == 200
        assert served.post(b"{}", Authorization="bearer  s3cret").status == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "perfmon.lan"])
def test_who_can_be_reached_from_outside_must_have_a_token(address):
    with pytest.raises(ConfigError, match="--token-file"):
        check_exposure(address, "")
    check_exposure(address, "s3cret")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("perfmon", "perfmon"),
        ("perfmon:24918", "perfmon"),
        ("Perf_mon-1.lan.", "Perf_mon-1.lan."),
        ("10.0.0.5:4318", "10.0.0.5"),
        ("fe80::1", "[fe80::1]"),
        ("[FE80::0:1]", "[fe80::1]"),
        ("[fe80::1]:4318", "[fe80::1]"),
    ],
)
def test_a_host_is_allowed_by_its_name_with_a_port_or_without(told, name):
    assert host_name_of(told) == name


@pytest.mark.parametrize(
    "told",
    [
        "http://perfmon",
        "perfmon/",
        "perfmon:http",
        "perfmon:99999",
        "",
        ":4318",
        "a b",
        "*.lan",
        "a..b",
        "[1]",
        "größe",
    ],
)
def test_what_is_no_name_of_a_host_is_told_before_anything_is_received(tmp_path, told):
    config = resolve_config({"path": str(tmp_path / "metrics.db")})
    with pytest.raises(ConfigError, match="is no name of a host"):
        run_server(config, Address(port=0, grpc_port=None, allowed_hosts=[told]), lambda *_: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_who_cannot_needs_none(address):
    check_exposure(address, "")
