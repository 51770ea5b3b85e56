from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from cli_kit import record, record_shop, span_row

argcomplete = pytest.importorskip("argcomplete", reason="optional: pip install argcomplete")
posix_only = pytest.mark.skipif(os.name == "nt", reason="completion is for POSIX shells")
pytestmark = posix_only


def _complete(line: str, shell: str = "bash") -> tuple[list[str], str]:
    """What a shell is offered at the end of ``line``, and what lands on its standard error."""
    reader, writer = os.pipe()
    program = (
        f"import os, sys; os.dup2({writer}, 8); from otel_perfmon.cli.main import main;"
        " sys.argv[0] = 'otel-perfmon'; sys.exit(main())"
    )
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\v",
        "_ARGCOMPLETE_SHELL": shell,
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        pass_fds=(writer,),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    with os.fdopen(reader) as file:
        offered = file.read()
    return [each for each in offered.split("\v") if each], result.stdout + result.stderr


def test_commands_and_options_are_completed() -> None:
    assert _complete("otel-perfmon st") == (["stats"], "")
    assert _complete("otel-perfmon stats --so") == (["--sort"], "")
    assert _complete("otel-perfmon stats --sort p") == (["p50", "p95", "p99"], "")


@pytest.mark.parametrize("command", ["stats", "heatmap", "slow", "errors", "spans", "tail"])
def test_operations_are_completed_from_the_store(db_path, shop_path, command) -> None:
    shutil.copyfile(shop_path, db_path)
    assert _complete(f"otel-perfmon {command} ch") == (["charge"], "")


def test_a_trace_is_completed_by_the_words_for_it_and_slowest_by_operations(db_path, shop_path) -> None:
    shutil.copyfile(shop_path, db_path)
    assert _complete("otel-perfmon trace ") == (["last", "slowest"], "")
    assert _complete("otel-perfmon trace slowest ") == (["GET\\ /cart", "charge"], "")
    assert _complete("otel-perfmon trace slowest ch") == (["charge"], "")
    assert _complete("otel-perfmon spans --operation ch") == (["charge"], "")


def test_the_store_is_the_one_that_the_line_names(tmp_path) -> None:
    record_shop(str(tmp_path / "other.db"))
    assert _complete("otel-perfmon stats ch") == ([], "")
    assert _complete("otel-perfmon stats --db other.db ch") == (["charge"], "")
    assert _complete("otel-perfmon stats --db other.db --service s") == (["shop"], "")


@pytest.mark.parametrize(
    ("shell", "offered"), [("bash", "GET\\ /cart"), ("fish", "GET /cart"), ("zsh", "GET\\ /cart:")]
)
def test_each_shell_is_offered_names_in_its_own_form(db_path, shop_path, shell, offered) -> None:
    shutil.copyfile(shop_path, db_path)
    assert _complete("otel-perfmon stats GE", shell) == ([offered], "")


def test_names_that_would_disturb_the_shell_are_left_out(db_path) -> None:
    end = time.time_ns()
    record(db_path, *(span_row(name, end=end) for name in ("op\nline", "op\x1b[31m", "op good")))
    assert _complete("otel-perfmon stats op", "fish") == (["op good"], "")


def test_what_goes_wrong_lands_nowhere(tmp_path) -> None:
    (tmp_path / "text.db").write_text("hello" * 999)
    assert _complete("otel-perfmon stats --db text.db x") == ([], "")
    assert _complete("otel-perfmon stats --db none.db x") == ([], "")
    assert _complete("otel-perfmon stats --db '' x") == ([], "")
    assert sorted(os.listdir()) == ["text.db"]
