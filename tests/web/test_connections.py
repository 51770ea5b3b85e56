"""Nobody keeps others waiting: not with a body that nobody reads, nor with one in very many pieces."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPResponse

import pytest
from serve_kit import JSON, Served, serving, span_json, traces_json

HEAD = f"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
GOOD = "Authorization: Bearer s3cret\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    with serving(path, "--no-grpc", "--token", "s3cret") as served:
        yield served


def heard_of(connection: socket.socket) -> bytes:
    """All that comes until the other side has nothing more to say."""
    heard = b""
    while part := connection.recv(65_536):
        heard += part
    return heard


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=5)


def in_pieces(body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("Content-Length: 1000000\r\n\r\n", 401),
        (CHUNKED, 401),
        ("Origin: http://evil.example\r\n" + CHUNKED, 403),
        (GOOD + "Content-Encoding: br\r\n" + CHUNKED, 415),
        (GOOD + "Content-Length: 999999999\r\n\r\n", 413),
    ],
)
def test_a_request_that_is_refused_before_its_body_came_is_the_last_of_its_connection(served, told, status):
    with closing(connected(served)) as connection:
        connection.sendall((HEAD + told).encode())
        heard = heard_of(connection)  # ends at once, though the body has not come
        assert heard.startswith(b"HTTP/1.1 %d " % status)
        assert heard.count(b"connection: close\r\n") == 1
        connection.sendall(b"5\r\nno chunk at all\r\n" * 1_000 + (HEAD + GOOD + "Content-Length: 2\r\n\r\n{}").encode())
        connection.shutdown(socket.SHUT_WR)
        assert heard_of(connection) == b""


def test_who_sends_a_whole_large_body_reads_why_it_is_refused(served):
    for _ in range(5):
        answer = served.post(b" " * 5_000_000, Authorization="Bearer wrong")
        assert (answer.status, answer.json()["code"]) == (401, 16)


def test_a_connection_whose_request_came_wholly_is_kept_though_it_is_refused(served):
    whole = "Content-Length: 2\r\n\r\n{}"
    with closing(connected(served)) as connection:
        for told, status in (("", 401), (GOOD, 200), ("", 401), (GOOD, 200)):
            connection.sendall((HEAD + told + whole).encode())
            with closing(HTTPResponse(connection, method="POST")) as response:
                response.begin()
                assert (response.status, response.will_close) == (status, False)
                response.read()


@pytest.mark.parametrize("told", [GOOD, ""], ids=["with the token", "without"])
@pytest.mark.parametrize("piece_bytes", [1, 100])
def test_a_body_in_very_many_pieces_is_refused(served, told, piece_bytes):
    body = in_pieces(b" " * 3_000 * piece_bytes, piece_bytes)
    heard = served.say((HEAD + told + CHUNKED).encode() + body, timeout=5)
    assert heard.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ") if not told else b"HTTP/1.1 400 ")
    assert heard.count(b"HTTP/1.1") == 1
    assert not told or b"chunks" in heard


@pytest.mark.parametrize("piece_bytes", [1, 300])
def test_a_body_in_as_many_as_somebody_might_send_is_read(served, piece_bytes):
    spans = [span_json(number) for number in range(1 if piece_bytes == 1 else 3_000)]
    body = in_pieces(traces_json(*spans), piece_bytes)
    heard = served.say((HEAD + GOOD + "Connection: close\r\n" + CHUNKED).encode() + body)
    assert heard.startswith(b"HTTP/1.1 200 ")


def test_what_is_refused_is_no_fault_of_ours(tmp_path):
    with serving(str(tmp_path / "metrics.db"), "--no-grpc") as served:
        for body in (b"no chunk\r\n", b"1\r\n \r\n" * 3_000):
            assert served.say((HEAD + CHUNKED).encode() + body, timeout=5).startswith(b"HTTP/1.1 400 ")
            served.say((HEAD + "Content-Encoding: br\r\n" + CHUNKED).encode() + body, timeout=5)
        with closing(connected(served)) as open_still:
            open_still.sendall((HEAD + CHUNKED).encode() + b"1\r\n \r\n" * 3_000)
            heard_of(open_still)
            served.process.terminate()
            assert served.process.communicate(timeout=10)[1] == ""


def test_who_takes_no_answers_keeps_nobody_out(served):
    """Without a token: what pages are made of is for everybody."""
    asking = b"GET /static/page.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 400
    with ExitStack() as stack:
        for _ in range(600):
            connection = stack.enter_context(closing(socket.socket()))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            connection.connect(("127.0.0.1", served.port))
            connection.settimeout(1)
            with suppress(OSError):  # full, or closed by now
                connection.send(asking)
        assert served.get("/static/page.css").status == 200
