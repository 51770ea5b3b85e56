from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import record, span_row

from otel_perfmon.cli.exporting import FORMATS


def spans_in(text: str) -> list[dict]:
    requests = [json.loads(line) for line in text.splitlines()]
    scopes = [scope for request in requests for each in request["resourceSpans"] for scope in each["scopeSpans"]]
    return [span for scope in scopes for span in scope["spans"]]


def test_every_span_goes_out_as_a_line_of_otlp_in_the_order_of_arrival(shop):
    printed = shop("export")
    assert (printed.status, printed.err) == (0, "")
    count = int(shop("sql", "SELECT count(*) FROM spans", "--json").json["items"][0]["count(*)"])
    assert len(spans_in(printed.out)) == count > 40


@pytest.mark.parametrize(
    "filters", [("--error",), ("charge",), ("--slow", "--min", "10ms"), ("--attribute", "cart.size=3")], ids=str
)
def test_filters_are_those_of_spans(shop, filters):
    found = {span["spanId"] for span in spans_in(shop("export", *filters).out)}
    expected = shop("spans", *filters, "--limit", "1000", "--json").items
    assert found == {span["span_id"] for span in expected}
    assert found


def test_a_limit_ends_the_export_in_the_middle_of_a_page(shop):
    assert len(spans_in(shop("export", "--limit", "7").out)) == 7


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_is_there_only_once_it_is_whole_and_for_its_owner_alone(shop, form):
    assert shop("export", "--format", form, "-o", "spans.out").status == 0
    assert os.path.getsize("spans.out") > 1_000
    assert oct(os.stat("spans.out").st_mode & 0o777) == "0o600"
    assert sorted(name for name in os.listdir() if name.startswith("spans")) == ["spans.out"]


def test_an_export_that_fails_leaves_the_old_file_as_it_was(shop):
    Path("spans.out").write_text("old")
    assert shop("export", "no such operation", "-o", "spans.out").status == 3
    assert Path("spans.out").read_text() == "old"
    assert shop("export", "-o", "no/such/folder/spans.out").status == 3


def test_a_window_in_which_nothing_ended_is_an_empty_export(shop):
    printed = shop("export", "--window", "2001-01-01/2001-01-02")
    assert (printed.status, printed.out) == (0, "")


def test_csv_is_read_by_any_reader_of_it(shop):
    rows = list(csv.DictReader(io.StringIO(shop("export", "--format", "csv", "--error").out)))
    assert {row["otel.status_code"] for row in rows} == {"ERROR"}


def test_a_pipe_that_is_closed_ends_it_without_a_word(shop, db_path):
    shop("info")
    command = f"{sys.executable} -m otel_perfmon export --db {db_path} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert ended.stdout.strip() in {"0", "141"}


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", ".lock"])
def test_the_store_itself_is_never_written_over(shop, db_path, ending):
    os.symlink(db_path + ending, "link")
    for output in (db_path + ending, "link"):
        printed = shop("export", "-o", output)
        assert (printed.status, "belongs to the store" in printed.err) == (2, True)
    assert shop("stats").status == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names there")
def test_a_pipe_stays_one_and_a_link_leads_where_it_led(shop):
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert shop("export", "-o", "pipe").status == 0
        assert len(reader.stdout.read()) > 1_000
    Path("old").write_text("old")
    os.chmod("old", 0o640)
    os.symlink("old", "link")
    assert shop("export", "-o", "link").status == 0
    assert os.path.islink("link")
    assert Path("old").read_text().startswith('{"resourceSpans"')
    assert oct(os.stat("old").st_mode & 0o777) == "0o640"


ODD = r'{"a":"x\ud800y","b\udfff":["\ud800"]}'
ODD_EVENTS = r'[{"name":"e","time_unix_nano":1,"attributes":{"x":"\ud800"}}]'


@pytest.mark.parametrize("form", FORMATS)
def test_half_a_surrogate_pair_keeps_nothing_from_being_exported(cli, db_path, form):
    record(db_path, span_row("odd", attributes=ODD, error="x", events=ODD_EVENTS))
    printed = cli("export", "--db", db_path, "--format", form, "-o", "spans.out")
    assert (printed.status, printed.err) == (0, "")
    assert os.path.getsize("spans.out") > 100
