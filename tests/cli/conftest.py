"""Fixtures: commands run in this process, on a store of a small shop."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

import pytest

from otel_perfmon.cli.main import main

HERE = os.path.dirname(__file__)
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "storage")]
from cli_kit import Printed, record_shop  # noqa: E402 - found by the line above


@pytest.fixture
def cli(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """Run one command as on a terminal of so many columns, without colours."""

    def run(*arguments: str, width: int = 100) -> Printed:
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        status = main(list(arguments))
        printed = capsys.readouterr()
        return Printed(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def shop_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The store of the shop, for all who only read it."""
    path = str(tmp_path_factory.mktemp("shop") / "metrics.db")
    record_shop(path)
    return path


@pytest.fixture
def shop(cli, db_path: str, shop_path: str) -> Callable[..., Printed]:
    """Run one command on a copy of the store of the shop."""
    shutil.copyfile(shop_path, db_path)

    def run(command: str, *arguments: str, width: int = 100) -> Printed:
        return cli(command, "--db", db_path, *arguments, width=width)

    return run
