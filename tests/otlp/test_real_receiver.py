"""A receiver of OTLP that is not ours, OtelTap in Rust, gets every span with every field."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
from destination_kit import free_port
from forwarding_kit import drive, record
from storage_kit import span_row

from otel_perfmon import SpanQuery, open_store
from otel_perfmon.otlp.json_encoding import encode_span

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("oteltap") is None, reason="needs OtelTap (pip install oteltap; x86-64 only)"
)
COUNT = 1_200


def test_every_span_arrives_with_every_field(db_path) -> None:
    event = '[{"name":"sent","time_unix_nano":5,"dropped_attributes_count":2,"attributes":{"a":[1,2]}}]'
    link = f'[{{"trace_id":"{"ab" * 16}","span_id":"{"cd" * 8}","trace_state":"a=b","flags":257,"attributes":{{}}}}]'
    rows = [span_row(f"op{number}", attributes=f'{{"n":{number},"ok":true,"f":0.5}}') for number in range(COUNT - 1)]
    record(db_path, [*rows, span_row("rich", error="no stock", trace_state="x=y", events=event, links=link)])
    port = free_port()
    command = [sys.executable, "-m", "oteltap", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as receiver:
        try:
            assert "Listening" in receiver.stdout.readline()
            driven = drive(db_path, f"http://127.0.0.1:{port}").until_idle()
            told = [json.loads(receiver.stdout.readline()) for _ in range(COUNT)]
        finally:
            receiver.kill()
    assert driven.pauses == []
    with open_store(db_path) as store:
        stored = store.find_spans(SpanQuery(order="arrival", limit=COUNT))
    assert [without_defaults(span) for span in told] == [without_defaults(encode_span(span)) for span in stored]


def without_defaults(value: Any) -> Any:
    """JSON of OTLP without what may be left out."""
    if isinstance(value, list):
        return [without_defaults(each) for each in value]
    if not isinstance(value, dict):
        return value
    members = {name: without_defaults(each) for name, each in value.items()}
    return {name: each for name, each in members.items() if each not in ("", 0, [], {}, None) or name.endswith("Value")}
