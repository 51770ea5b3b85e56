"""The form in which something came as OTLP stands beside its row, goes with it, and never keeps a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from storage_kit import NOW, SECOND, ask, ask_one, batch, log_row, point_row, resource_row, scope_row, span_row, write

from otel_perfmon.query import SpanQuery
from otel_perfmon.storage.raw_points import add_raw
from otel_perfmon.storage.sqlite import retention as retentions

TOKEN = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7R8"


def raw_span(*pairs: tuple[str, str], extra: bytes = b"") -> bytes:
    span = Span(name="op")
    for key, value in pairs:
        span.attributes.add(key=key).value.string_value = value
    return span.SerializeToString() + extra


def raw_resource(value: str) -> bytes:
    spans = ResourceSpans()
    spans.resource.attributes.add(key="note").value.string_value = value
    spans.resource.dropped_attributes_count = 3
    return spans.SerializeToString()


RAW = raw_span(("a", "1"), ("a", "2"))
SECRETS = [
    raw_span(("password", "hunter22"), ("password", "")),
    raw_span(("a", TOKEN)),
    raw_span(extra=b"\xc2\x3e" + bytes([len(TOKEN)]) + TOKEN.encode()),
    raw_span(extra=b"\xc2\x3e" + bytes([len(TOKEN) + 2, 10, len(TOKEN)]) + TOKEN.encode()),
]
"""Under a name, by itself, in a field that nobody knows, and in a message within such a field."""


def test_only_the_spans_that_have_one_keep_it(writer, store):
    rows = [
        span_row(f"{number}", otlp=RAW + bytes([number % 256])) if number % 3 else span_row() for number in range(2_500)
    ]
    write(writer, *rows)
    found = store.find_spans(SpanQuery(order="arrival", limit=3_000))
    assert [span.otlp for span in found] == [row.details.otlp if row.details else b"" for row in rows]


def test_it_goes_with_its_span_whoever_removes_that(writer, db_path, clock):
    write(writer, span_row("old", end=NOW - 9 * SECOND, otlp=RAW), span_row("kept", slow=True, otlp=RAW))
    write(writer, span_row("ordinary", otlp=RAW))
    assert writer.delete_spans_before(NOW - SECOND)[0] == 1
    assert ask(db_path, "SELECT span_row_id FROM _raw_spans") == [(2,), (3,)]
    clock.now += 2 * 3_600
    while writer.maintain():
        pass
    assert ask(db_path, "SELECT span_row_id FROM _raw_spans") == [(2,)]


def test_resources_and_scopes_that_differ_in_it_are_two(writer, store, db_path):
    resources = [type(resource_row())("shop", "", "", "{}", otlp=raw_resource(value)) for value in ("x", "y", "x")]
    scope = type(scope_row())("lib", "", "", "{}", b"\x0a\x00")
    write(writer, *[span_row(resource=each, scope=scope) for each in resources], span_row())
    found = store.find_spans(SpanQuery(order="arrival"))
    assert [span.resource.otlp for span in found] == [*(each.otlp for each in resources), b""]
    assert [span.scope.otlp for span in found] == [b"\x0a\x00"] * 3 + [b""]
    assert ask_one(db_path, "SELECT count(*) FROM _resources") == 3


@pytest.mark.parametrize("raw", SECRETS)
def test_one_with_a_secret_is_not_kept_and_the_row_says_so(recorder, store, raw):
    recorder.write_logs([log_row(otlp=raw), log_row(otlp=RAW)])
    recorder.record(RowDoor(), span_row(otlp=raw, altered="attributes"))
    recorder.record(RowDoor(), span_row(otlp=RAW))
    first, second = store.find_spans(SpanQuery(order="arrival"))
    assert (first.otlp, first.altered) == (b"", ("attributes", "otlp", "redacted"))
    assert (second.otlp, second.altered) == (RAW, ())
    first, second = store.find_arrived_logs().items
    assert (first.otlp, first.altered) == (b"", ("otlp", "redacted"))
    assert (second.otlp, second.altered) == (RAW, ())


def test_nor_is_one_whose_row_had_a_secret(recorder, store):
    recorder.record(RowDoor(), span_row("login password=hunter22", otlp=RAW))
    recorder.write_logs([log_row("login password=hunter22", otlp=RAW)])
    (span,), (log,) = store.find_spans(), store.find_logs()
    assert (span.otlp, log.otlp, log.body) == (b"", b"", "login password=[redacted]")
    assert span.altered == log.altered == ("otlp", "redacted")


class RowDoor:
    def encode(self, payload, slow_threshold_nano):
        return payload

    def weigh(self, payload):
        return 1


def raw_metric(value: str) -> bytes:
    metric = Metric(name="m")
    metric.gauge.data_points.add().attributes.add(key="a").value.string_value = value
    return metric.SerializeToString()


def test_of_a_data_point_it_stands_in_its_data_and_goes_with_a_secret_too(recorder, store):
    kept, lost = (point_row(data=add_raw('{"value":1}', raw_metric(value))) for value in ("fine", TOKEN))
    changed = kept._replace(attributes='{"password":"hunter22"}')
    recorder.write_points([kept, lost, changed])
    assert [point.data for point in store.find_arrived_points().items] == [
        {"value": 1, "otlp": raw_metric("fine")},
        {"value": 1},
        {"value": 1},
    ]


def test_a_scan_finds_secrets_in_them_and_takes_those_out_with_all_their_bytes(writer, store, db_path):
    resource = type(resource_row())("shop", "", "", "{}", otlp=raw_resource(TOKEN))
    rows = [span_row(otlp=raw, resource=resource) for raw in (*SECRETS, RAW)]
    rows.append(span_row("both", error=TOKEN, otlp=raw_span(("a", TOKEN))))
    logs = [log_row(otlp=SECRETS[1]), log_row(f"token {TOKEN}", otlp=RAW), log_row(otlp=RAW)]
    points = [point_row(data=add_raw("{}", raw_metric(TOKEN))), point_row(data=add_raw("{}", raw_metric("fine")))]
    writer.write(batch(*rows, logs=logs, points=points), timeout_seconds=1)
    writer.close()
    found = store.find_secrets()
    places = {each.place: each.count for each in found}
    assert (places["raw_spans.otlp"], places["resources.otlp"], places["logs.otlp"]) == (5, 1, 1)
    assert (places["logs.body"], places["points.data"]) == (1, 1)
    assert store.remove_secrets() == found
    assert store.find_secrets() == []
    spans = store.find_spans(SpanQuery(order="arrival"))
    assert [span.otlp for span in spans] == [b""] * 4 + [RAW, b""]
    assert [span.altered for span in spans] == [("otlp", "redacted")] * 4 + [(), ("otlp", "redacted")]
    assert {span.resource.otlp for span in spans[:5]} == {b""}
    found_logs = store.find_arrived_logs().items
    assert [(log.otlp, log.altered) for log in found_logs] == [(b"", ("otlp", "redacted"))] * 2 + [(RAW, ())]
    assert [dict(point.data) for point in store.find_arrived_points().items] == [{}, {"otlp": raw_metric("fine")}]
    store.close()
    for end in ("", "-wal"):
        if Path(db_path + end).exists():
            assert TOKEN.encode() not in Path(db_path + end).read_bytes()
    assert json.loads(ask_one(db_path, "SELECT data FROM points LIMIT 1")) == {}


def test_retention_removes_no_more_than_it_may_at_once_with_them(writer, db_path, clock, monkeypatch):
    monkeypatch.setattr(retentions, "ROWS_AT_ONCE", 10)
    write(writer, *[span_row(otlp=RAW) for _ in range(25)])
    clock.now += 2 * 3_600
    assert writer.maintain()
    assert ask_one(db_path, "SELECT count(*) FROM _raw_spans") == ask_one(db_path, "SELECT count(*) FROM _spans") == 15
