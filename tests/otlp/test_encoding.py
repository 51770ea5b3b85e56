"""Spans that were stored go out as the bytes that the SDK's own exporter would have sent."""

from __future__ import annotations

import json

from otlp_kit import Station
from records_kit import span_record
from storage_kit import log_row, point_row

from otel_perfmon.otlp import log_encoding, metric_encoding
from otel_perfmon.otlp.decoding import SpanDecoder
from otel_perfmon.otlp.encoding import SpanEncoder
from otel_perfmon.otlp.json_encoding import encode_traces
from otel_perfmon.otlp.log_decoding import LogDecoder
from otel_perfmon.records import EventRecord


def test_times_before_1970_for_which_otlp_has_no_room_are_0_and_come_in_again() -> None:
    span = span_record(start_unix_nano=-5_000, end_unix_nano=7, events=(EventRecord("e", -1),))
    for row in (
        *SpanDecoder(10**9).decode_protobuf(SpanEncoder().encode_request([span])),
        *SpanDecoder(10**9).decode_json(json.dumps(encode_traces([span]))),
    ):
        assert (row.start_unix_nano, row.end_unix_nano) == (0, 7)
        assert json.loads(row.details.events)[0]["time_unix_nano"] == 0


def test_so_are_those_of_log_records_and_points(station: Station) -> None:
    logs = station.logs_through([log_row(at=-5)])
    for row in (
        *LogDecoder().decode_protobuf(log_encoding.encode_request(logs)),
        *LogDecoder().decode_json(json.dumps(log_encoding.encode_logs_json(logs))),
    ):
        assert (row.time_unix_nano, row.observed_unix_nano) == (0, 0)
    exemplar = {"time_unix_nano": -5, "value": 1}
    points = station.points_through([point_row(at=-5, data=json.dumps({"value": 1, "exemplars": [exemplar]}))])
    (metric,) = metric_encoding.encode_metrics_json(points)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert "timeUnixNano" not in json.dumps(metric)
