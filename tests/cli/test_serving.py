"""`otel-perfmon serve` and `ui`: begin where they are told to, end in order, and say what is wrong in a sentence."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from contextlib import ExitStack, closing

import pytest
from serve_kit import serving, showing, span_json, traces_json

from otel_perfmon import MetricsStorage, open_store
from otel_perfmon.cli.main import main


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order_when_it_is_stopped(db_path, number):
    with serving(db_path) as served:
        assert served.post(traces_json(span_json(1))).status == 200
        served.process.send_signal(number)
        assert served.process.wait(15) == 0
        assert served.process.stderr.read() == ""
    with open_store(db_path) as store:
        assert [each.is_closed for each in store.list_processes()] == [True]


def test_it_listens_to_this_machine_alone(db_path):
    with serving(db_path) as served, socket.socket() as probe:
        address = socket.gethostbyname(socket.gethostname())
        if address.startswith("127."):
            pytest.skip("this machine has no other address")
        assert probe.connect_ex((address, served.port)) != 0


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--host", "0.0.0.0"], 2, "--token-file"),
        (["--token-file", "nowhere"], 2, "nowhere cannot be read"),
        (["--token", "a b"], 2, "without spaces"),
        (["--token", ""], 2, "not empty"),
        (["--port", "70000"], 2, "65535"),
        (["--port", "-1"], 2, "0 or more"),
        (["--host", "nowhere.invalid", "--token", "x"], 3, "cannot be listened at"),
    ],
)
def test_what_is_wrong_is_told_at_the_start(arguments, status, told, capsys):
    assert main(["serve", *arguments]) == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_that_is_taken_is_told(option, capfd):
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"--port": "0", "--grpc-port": "0", option: str(other.getsockname()[1])}
        assert main(["serve", *(word for pair in ports.items() for word in pair)]) == 3
    told = capfd.readouterr().err
    assert "cannot be listened at" in told
    assert option in told


def test_a_file_that_is_not_a_store_is_left_alone(tmp_path, capsys):
    path = str(tmp_path / "other.db")
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    assert main(["serve", "--db", path, "--port", "0", "--no-grpc"]) == 3
    assert "other.db" in capsys.readouterr().err


def test_what_is_wrong_with_a_file_is_told_at_the_start_of_the_page_too(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no database at all\n" * 9)
    (tmp_path / "folder").mkdir()
    for name, told in {"notes.txt": "not an SQLite database", "folder": "a directory"}.items():
        assert main(["ui", "--db", str(tmp_path / name), "--port", "0"]) == 3
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--host", "nowhere.invalid"], "--host takes an address of this machine"),
        (["--host", "192.0.2.1"], "--host takes an address of this machine"),
        (["--host", "x" * 70 + ".invalid"], "--host takes an address of this machine"),
        (["--host", "0.0.0.0", "--no-token"], "--token-file"),
    ],
)
def test_where_the_page_cannot_be_is_told_with_what_to_do(arguments, advice, capsys):
    assert main(["ui", "--port", "0", *arguments]) in {2, 3}
    assert advice in capsys.readouterr().err


def test_of_a_port_that_is_taken_it_is_said_which_is_free(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["ui", "--port", str(other.getsockname()[1])]) == 3
    assert "--port 0 any that is free" in capsys.readouterr().err


def test_the_page_waits_for_the_file_whose_path_may_have_spaces(tmp_path):
    (tmp_path / "my shop").mkdir()
    path = str(tmp_path / "my shop" / "the metrics.db")
    with showing(path, "--no-token") as served:
        assert served.process.stdout.readline() == "No file is there yet; the page waits for it.\n"
        assert b"Nothing has been recorded yet" in served.get("/running").body
        assert not os.path.exists(path)
        with closing(MetricsStorage(path)) as storage:
            storage.insert_metric("load", 1.5)
        assert b'id="bar"' in served.get("/running").body
        assert b"the metrics.db" in served.get("/store").body


def test_it_ends_soon_while_twenty_follow_it(db_path):
    MetricsStorage(db_path).close()
    with showing(db_path, "--no-token") as served, ExitStack() as followers:
        for _ in range(20):
            follower = followers.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=10))
            follower.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert follower.recv(15) == b"HTTP/1.1 200 OK"
        began = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(15) == 0
        assert time.monotonic() - began < 2
        assert served.process.stderr.read() == ""


def test_for_other_machines_it_tells_the_names_that_are_allowed(db_path):
    words = ("--host", "0.0.0.0", "--allow-host", "perfmon.lan", "--allow-host", "proxy.lan:443")
    with showing(db_path, *words) as served:
        told = [served.process.stdout.readline().strip() for _ in range(2)]
        hosts = (f"perfmon.lan:{served.port}", "proxy.lan:443")
        assert told == [f"http://{host}/?token={served.token}" for host in hosts]
        assert served.get("/", Host=f"perfmon.lan:{served.port}").status == 200
    with showing(db_path, "--host", "0.0.0.0") as served:
        assert "--allow-host NAME" in served.process.stdout.readline()
        assert served.get("/").status == 200


def test_a_token_that_was_given_is_not_printed_again(db_path):
    with showing(db_path, "--token", "s3cret") as served:
        assert served.token == ""
        assert served.get("/running").status == 401
        assert served.get("/running?token=s3cret").status == 303
        assert served.get("/running", Authorization="Bearer s3cret").status == 200
