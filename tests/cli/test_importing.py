from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "shop.py")


@pytest.fixture(params=["otlp-json", "otlp-proto"])
def exported(shop, request) -> str:
    assert shop("export", "--format", request.param, "-o", "spans.otlp").status == 0
    return "spans.otlp"


@pytest.mark.parametrize("form", ["otlp-json", "otlp-proto"])
def test_a_store_that_was_exported_and_imported_elsewhere_answers_the_same(cli, form):
    subprocess.run([sys.executable, EXAMPLE], capture_output=True, check=True)
    assert cli("export", "--db", "shop.db", "--format", form, "-o", "spans.otlp").status == 0
    printed = cli("import", "spans.otlp", "--db", "other.db")
    assert (printed.status, printed.err) == (0, "")

    def shop(command, *arguments):
        return cli(command, "--db", "shop.db", *arguments)

    def other(command, *arguments):
        return cli(command, "--db", "other.db", *arguments)

    assert other("stats", "--json").items == shop("stats", "--json").items
    assert other("stats", "checkout", "--json").items == shop("stats", "checkout", "--json").items
    for command in (("errors", "--json"), ("spans", "--order", "arrival", "--limit", "1000", "--json"),
                    ("slow", "--json")):  # fmt: skip
        assert other(*command).items == shop(*command).items
    assert other("doctor").status == 0


def test_spans_that_are_there_already_are_passed_over(shop, cli, exported):
    first = cli("import", exported, exported, "--db", "other.db")
    count = int(first.out.split()[0])
    assert f"{count} spans had been there, or came twice." in first.out
    second = cli("import", exported, "--db", "other.db")
    assert second.out.splitlines() == [
        f"0 spans stored in {os.getcwd()}/other.db.",
        f"{count} spans had been there, or came twice.",
    ]
    assert (
        cli("sql", "--db", "other.db", "SELECT count(*) FROM spans", "--json").items
        == shop("sql", "SELECT count(*) FROM spans", "--json").items
    )


def test_gzipped_files_and_standard_input_are_read(shop, exported, db_path):
    Path("spans.gz").write_bytes(gzip.compress(Path(exported).read_bytes()))
    with open("spans.gz", "rb") as file:
        command = [sys.executable, "-m", "otel_perfmon", "import", "-", "--db", "other.db"]
        ended = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("other.db.\n")
    assert not ended.stdout.startswith("0 ")


def test_files_of_zstd_are_read_whole_or_by_message(cli, exported):
    plain = Path(exported).read_bytes()
    frames = zstandard.ZstdCompressor()
    half = len(plain) // 2
    Path("spans.zst").write_bytes(frames.compress(plain[:half]) + frames.compress(plain[half:]))
    assert cli("import", "spans.zst", "--db", "whole.db").out.split()[0] == "80"
    messages = plain.splitlines(True) if plain[:1] == b"{" else [plain[4:]]
    packed = [frames.compress(message) for message in messages]
    Path("collector.zst").write_bytes(b"".join(struct.pack(">I", len(each)) + each for each in packed))
    assert cli("import", "collector.zst", "--db", "by_message.db").out.split()[0] == "80"


def test_another_store_is_read_with_its_flags_and_left_as_it_was(shop, cli, db_path):
    shop("stats")
    before = Path(db_path).read_bytes()
    Path("packed.db.gz").write_bytes(gzip.compress(before))
    printed = cli("import", db_path, "packed.db.gz", "--db", "other.db")
    assert (printed.status, printed.err) == (0, "")
    assert printed.out.splitlines()[1] == "80 spans had been there, or came twice."
    assert Path(db_path).read_bytes() == before
    assert cli("slow", "--db", "other.db", "--json").items == shop("slow", "--json").items != []
    assert cli("errors", "--db", "other.db", "--json").items == shop("errors", "--json").items
    with open(db_path, "rb") as file:
        command = [sys.executable, "-m", "otel_perfmon", "import", "-", "--db", "third.db"]
        ended = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("80 spans stored")


def test_a_store_is_not_imported_into_itself(shop, cli, db_path):
    shop("stats")
    os.link(db_path, "link.db")
    for name in (db_path, "link.db"):
        printed = cli("import", name, "--db", db_path)
        assert (printed.status, "is the store into which" in printed.err) == (2, True)
    assert len(shop("spans", "--limit", "100", "--json").items) == 80


def test_what_is_exported_for_jaeger_comes_in_with_the_same_tree(shop, cli):
    shop("export", "--format", "jaeger-json", "-o", "jaeger.json")
    printed = cli("import", "jaeger.json", "--db", "other.db")
    assert (printed.status, printed.out.split()[0]) == (0, "80")
    there, here = (
        {span["span_id"]: (span["parent_span_id"], span["name"], span["is_error"]) for span in items}
        for items in (
            shop("spans", "--limit", "100", "--json").items,
            cli("spans", "--db", "other.db", "--limit", "100", "--json").items,
        )
    )
    assert there == here


def test_bad_spans_are_named_up_to_a_hundred(cli):
    Path("zipkin.json").write_text('[{"traceId": "1", "id": "1"},' + '{"traceId": "1"},' * 150 + '{"traceId": 1}]')
    printed = cli("import", "zipkin.json", "--db", "other.db")
    assert printed.status == 1
    assert printed.out.startswith("1 span stored")
    lines = printed.err.splitlines()
    assert lines[0].startswith("zipkin.json, line 1, span 2: This is no span of Zipkin's: its id")
    assert lines[-1] == "51 more places could not be read."
    assert len(lines) == 101


def test_what_is_no_otlp_is_named_with_its_line_and_the_rest_goes_on(shop, cli):
    lines = shop("export").out
    Path("mixed.jsonl").write_text("nonsense\n" + lines)
    printed = cli("import", "mixed.jsonl", "--db", "first.db")
    assert printed.status == 1
    assert printed.err.startswith("mixed.jsonl, line 1: This is no TracesData of OTLP")
    assert not printed.out.startswith("0 ")
    Path("mixed.jsonl").write_text(lines + "nonsense\n" + lines)
    printed = cli("import", "mixed.jsonl", "--db", "other.db")
    assert printed.status == 1
    assert printed.err.startswith("mixed.jsonl, line 2: This is no TracesData of OTLP")
    assert not printed.out.startswith("0 ")


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(cli):
    Path("broken.gz").write_bytes(b"\x1f\x8bnonsense")
    whole = gzip.compress(b'{"resourceSpans": []}\n' * 50)
    Path("cut.gz").write_bytes(whole[:-12])
    Path("flipped.gz").write_bytes(whole[:10] + b"\xff" + whole[11:])
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(b'{"resourceSpans": []}\n' * 50)
    Path("cut.zst").write_bytes(packed[:-3])
    Path("flipped.zst").write_bytes(packed[:-1] + bytes([packed[-1] ^ 1]))
    for name in ("none.jsonl", ".", "broken.gz", "cut.gz", "flipped.gz", "cut.zst", "flipped.zst"):
        printed = cli("import", name, "--db", "other.db")
        assert printed.status == 1
        assert re.match(rf"{re.escape(name)}(, from line \d+ on)?: It cannot be read: ", printed.err)
        assert printed.err.count("\n") == 1


def otlp_line(number: int) -> str:
    span = {"traceId": "ab" * 16, "spanId": f"{number:016x}", "name": "op"}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n"


@pytest.mark.parametrize("names", [("cut", "good.jsonl"), ("good.jsonl", "cut"), ("none.jsonl", "cut", "good.jsonl")])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_file_that_is_cut_or_missing_keeps_nothing_from_being_stored_that_was_read(cli, names, pack):
    Path("good.jsonl").write_text("".join(map(otlp_line, range(1, 101))))
    packed = pack("".join(map(otlp_line, range(1_001, 13_001))).encode())
    Path("cut").write_bytes(packed[: len(packed) // 2])
    printed = cli("import", *names, "--db", "other.db")
    *missing, cut = printed.err.splitlines()
    begin, what = cut.split(": It cannot be read: ")
    first_unread = int(begin.removeprefix("cut, from line ").removesuffix(" on").replace(",", ""))
    assert first_unread > 4_096
    assert "end-of-stream" in what or what == "a frame of zstd is cut off."
    assert missing == ["none.jsonl: It cannot be read: No such file or directory."][: len(names) - 2]
    assert printed.out.startswith(f"{first_unread - 1 + 100:,} spans stored in ")
    assert printed.status == 1


def test_a_packed_file_that_is_cut_gives_every_line_that_can_be_unpacked(cli):
    lines = "".join(map(otlp_line, range(1, 2_001)))
    packed = gzip.compress(lines.encode())[:-2_000]
    Path("cut.gz").write_bytes(packed)
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed)
    assert cli("import", "cut.gz", "--db", "other.db").out.startswith(f"{unpacked.count(10):,} spans stored")


def test_spans_of_zipkin_come_in_up_to_where_the_file_is_cut(cli):
    spans = [{"traceId": "1", "id": f"{number:x}", "timestamp": 1, "duration": 2} for number in range(1, 2_001)]
    Path("cut.gz").write_bytes(gzip.compress(json.dumps(spans).encode())[:-900])
    printed = cli("import", "cut.gz", "--db", "other.db")
    assert re.fullmatch(r"cut.gz, from line 1(, span 1,\d\d\d)? on: It cannot be read: Compressed .*\n", printed.err)
    assert 1_000 < int(printed.out.split()[0].replace(",", "")) < 2_000


def test_half_a_store_or_a_database_of_others_keeps_none_of_the_files_behind_it_from_being_read(shop, cli, db_path):
    shop("stats")
    packed = gzip.compress(Path(db_path).read_bytes())
    Path("cut.db.gz").write_bytes(packed[: len(packed) // 2])
    with closing(sqlite3.connect("others.db")) as connection, connection:
        connection.execute("CREATE TABLE letters (text)")
    Path("good.jsonl").write_text(otlp_line(1))
    printed = cli("import", "cut.db.gz", "others.db", "good.jsonl", "--db", "new.db")
    cut, other = printed.err.splitlines()
    assert cut.startswith("cut.db.gz: It cannot be read: Compressed file ended")
    assert other.startswith("others.db: ")
    assert (printed.status, printed.out.split(" in ")[0]) == (1, "1 span stored")


def test_a_store_is_refused_as_its_own_source_before_anything_is_read(cli):
    Path("good.jsonl").write_text(otlp_line(1))
    printed = cli("import", "good.jsonl", "other.db", "--db", "other.db")
    assert (printed.status, printed.out) == (2, "")
    assert not Path("other.db").exists()


def test_a_file_in_which_there_is_nothing_is_told_and_is_no_error(cli):
    Path("empty.jsonl").write_text("")
    Path("no_spans.jsonl").write_text('{"resourceSpans": []}\n')
    Path("logs.jsonl").write_text('{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"intValue": 1}}]}]}]}\n')
    printed = cli("import", "empty.jsonl", "logs.jsonl", "no_spans.jsonl", "--db", "other.db")
    assert printed.status == 0
    told = ": There is nothing in it: no span, data point or log record."
    assert printed.err.splitlines() == ["empty.jsonl" + told, "no_spans.jsonl" + told]


def test_a_store_of_another_programs_is_left_alone(shop, cli):
    lines = shop("export").out
    Path("spans.jsonl").write_text(lines)
    Path("letter.db").write_text("This is a letter to my aunt. " * 100)
    assert cli("import", "spans.jsonl", "--db", "letter.db").status == 3
    assert Path("letter.db").read_text().startswith("This is a letter")


def test_a_store_keeps_its_own_settings_and_every_span_whatever_the_sampling(shop, cli, monkeypatch):
    Path("spans.jsonl").write_text(shop("export").out)
    program = "from otel_perfmon import MetricsStorage as M; M('other.db', size_max_bytes='4GB').insert_metric('op', 1)"
    subprocess.run([sys.executable, "-c", program], check=True)
    kept = cli("info", "--db", "other.db", "--json").items[0]["size_max_bytes"]
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_SAMPLE_RATES", "GET /cart=0")
    printed = cli("import", "spans.jsonl", "--db", "other.db")
    summary = cli("info", "--db", "other.db", "--json").items[0]
    assert summary["size_max_bytes"] == kept > 10**9
    assert summary["span_count"] == int(printed.out.split()[0]) + 1


def test_the_time_of_a_span_itself_is_what_it_was_though_scopes_are_apart_in_the_file(cli):
    program = """
import otel_perfmon
from opentelemetry import trace
monitor = otel_perfmon.configure("shop.db")
inner, outer = trace.get_tracer("inner"), trace.get_tracer("outer")
for _ in range(20):
    with outer.start_as_current_span("root"):
        with inner.start_as_current_span("part"):
            with outer.start_as_current_span("leaf"):
                sum(range(5_000))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    cli("export", "--db", "shop.db", "-o", "spans.jsonl")
    cli("import", "spans.jsonl", "--db", "other.db")
    assert cli("stats", "--db", "other.db", "--json").items == cli("stats", "--db", "shop.db", "--json").items


def test_a_time_or_an_id_that_could_be_the_number_of_a_card_goes_out_again_as_it_came(cli):
    event = {"name": "e", "timeUnixNano": "4111111111111111110"}
    link = {"traceId": "4111111111111111" * 2, "spanId": "4111111111111111"}
    span = {"traceId": "ab" * 16, "spanId": "4111111111111111", "events": [event], "links": [link]}
    Path("spans.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    assert cli("import", "spans.jsonl", "--db", "other.db").status == 0
    printed = cli("export", "--db", "other.db")
    assert printed.status == 0
    (found,) = json.loads(printed.out)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (found["events"], found["links"], found["spanId"]) == ([event], [link], span["spanId"])


def test_spans_without_ids_are_told(cli):
    Path("spans.jsonl").write_text('{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "a"}, {}]}]}]}')
    printed = cli("import", "spans.jsonl", "--db", "other.db")
    assert printed.status == 1
    assert "2 spans had no ids of 16 and 8 bytes, and were left out." in printed.out
