"""`otel-perfmon serve`: begins where it is told to, ends in order, and says what is wrong in a sentence."""

from __future__ import annotations

import signal
import socket
import sqlite3

import pytest
from serve_kit import serving, span_json, traces_json

from otel_perfmon import open_store
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
