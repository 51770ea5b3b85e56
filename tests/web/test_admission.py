"""Who may ask: who has the token of this start, from its address, its cookie or a header; and nobody else."""

from __future__ import annotations

import pytest
from serve_kit import serving

ADDRESSES = ("/api/openapi.json", "/api/spans", "/api/sql?sql=SELECT+1", "/", "/nowhere")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(str(tmp_path_factory.mktemp("served") / "metrics.db"), "--no-grpc") as served:
        yield served


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic TOKEN"},
        {"Authorization": "", "Cookie": "otel_perfmon_PORT=wrong"},
        {"Authorization": "", "Cookie": "otel_perfmon_1=TOKEN"},
        {"Authorization": "", "Cookie": "otel_perfmon_PORT=TOKEN"},
        {"Authorization": "", "Cookie": "otel_perfmon_PORT=TOKEN; \x01[]"},
        {"Authorization": "Bearer é"},
    ],
    ids=lambda headers: " ".join(headers.values()) or "nothing",
)
def test_without_the_token_nothing_is_told(served, address, headers):
    told = {name: value.replace("TOKEN", served.token) for name, value in headers.items()}
    if "]" not in str(told):
        told = {name: value.replace("PORT", str(served.port)) for name, value in told.items()}
    answer = served.get(address, **told)
    assert answer.status == 401
    assert b"Open the address that was printed" in answer.body
    assert answer.media_type.startswith("application/json" if address.startswith("/api/") else "text/html")
    wrong = f"{address}{'&' if '?' in address else '?'}token=wrong"
    assert served.get(wrong, **told).status == 401


def test_the_address_that_is_printed_gives_a_cookie_and_hides_the_token(served):
    answer = served.get(f"/api/spans?limit=1&token={served.token}&order=newest", Authorization="")
    assert (answer.status, answer.headers["location"]) == (303, "/api/spans?limit=1&order=newest")
    cookie, *rules = answer.headers["set-cookie"].split("; ")
    assert rules == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert served.get("/api/store", Authorization="", Cookie=f"other=1; {cookie}").status != 401
    assert cookie.startswith(f"otel_perfmon_{served.port}=")


def test_cookies_of_other_programs_at_this_host_let_nobody_out(served):
    cookie = served.get(f"/?token={served.token}", Authorization="").headers["set-cookie"].partition(";")[0]
    name = cookie.partition("=")[0]
    for other in ('a={"b":1}', "a b c", 'x="open', "HttpOnly", "é=ü", "path=/", f"{name}=other", ""):
        for told in (f"{other}; {cookie}", f"{cookie}; {other}"):
            assert served.get("/api/openapi.json", Authorization="", Cookie=told).status == 200, other


def test_a_cookie_does_not_tell_the_token(served):
    """Browsers send it to the servers at every other port of this host, too."""
    cookie = served.get(f"/?token={served.token}", Authorization="").headers["set-cookie"]
    assert served.token not in cookie
    digest = cookie.partition("=")[2].partition(";")[0]
    assert served.get("/api/openapi.json", Authorization=f"Bearer {digest}").status == 401


def test_a_token_of_signs_is_a_cookie_too(tmp_path):
    with serving(str(tmp_path / "other.db"), "--no-grpc", "--token", 'a;b="c,') as other:
        cookie = other.get("/?token=a%3Bb%3D%22c%2C", Authorization="").headers["set-cookie"].partition(";")[0]
        assert other.get("/api/openapi.json", Authorization="", Cookie=cookie).status == 200


def test_a_token_in_the_address_sends_nobody_to_another_host(served):
    for path in ("//evil.example", "///evil.example", "/%0d%0aSet-Cookie:x=y", "/\\evil.example"):
        answer = served.get(f"{path}?token={served.token}", Authorization="")
        location = answer.headers.get("location", "/")
        assert location.startswith("/")
        assert location[1:2] not in {"/", "\\"}
        assert "x" not in answer.headers.get("set-cookie", "")[-3:]


def test_each_start_has_a_token_of_its_own_and_the_senders_one_is_for_both(served, tmp_path):
    with serving(str(tmp_path / "other.db"), "--no-grpc", "--token", "s3cret") as other:
        assert other.token == ""
        assert other.get("/api/openapi.json").status == 401
        assert other.get("/api/openapi.json", Authorization="Bearer s3cret").status == 200
        assert other.get("/api/openapi.json", Authorization=f"Bearer {served.token}").status == 401
    assert len(served.token) >= 20


def test_without_a_token_every_user_of_the_machine_may_ask(tmp_path):
    with serving(str(tmp_path / "other.db"), "--no-grpc", "--no-token") as other:
        assert other.get("/api/openapi.json", Authorization="").status == 200
