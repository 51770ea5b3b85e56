"""Whatever is answered means something: no answer of a destination raises."""

from __future__ import annotations

import json

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.otlp import wire
from otel_perfmon.otlp.outcome import JSON, PROTOBUF, Kind, judge_grpc, judge_http

DELAY, DETAIL = wire.tag(1, wire.LENGTH), wire.tag(3, wire.LENGTH)
ODD = ("1e400", "-1e400", "Infinity", "NaN", "null", "[]", "{}", '"1e400"', '"seven"', "true", "9" * 5_000)


@pytest.mark.parametrize("number", ODD, ids=lambda number: number[:12])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_an_odd_number_in_an_answer_changes_nothing_of_what_it_means(number, status):
    body = f'{{"partialSuccess":{{"rejectedSpans":{number}}},"message":{number}}}'.encode()
    plain = judge_http(status, {"content-type": JSON}, b"{}", is_whole=True)
    assert judge_http(status, {"content-type": JSON}, body, is_whole=True).kind is plain.kind


@given(st.integers(100, 599), st.sampled_from((JSON, PROTOBUF, "text/plain", "")), st.binary(), st.booleans())
def test_no_bytes_raise_over_http(status, content_type, body, is_whole):
    outcome = judge_http(status, {"content-type": content_type, "retry-after": repr(body)}, body, is_whole=is_whole)
    assert (outcome.kind in {Kind.ACCEPTED, Kind.UNCERTAIN}) == (200 <= status < 300)
    assert outcome.rejected_count >= 0


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists), st.sampled_from((200, 500)))
def test_nor_does_any_json(value, status):
    body = json.dumps({"partialSuccess": {"rejectedSpans": value, "errorMessage": value}, "message": value}).encode()
    judge_http(status, {"content-type": JSON}, body, is_whole=True)


@given(st.sampled_from(("OK", "UNAVAILABLE", "NONSENSE")), st.text(), st.binary(), st.binary())
def test_nor_do_they_over_grpc(code, message, details, body):
    assert (judge_grpc(code, message, details, body).kind is Kind.ACCEPTED) == (code == "OK")


@pytest.mark.parametrize(("seconds", "pause"), [(0, 0.0), (7, 7.0), (7_200, 3_600.0), (-1, 0.0), (-(2**63), 0.0)])
def test_a_pause_that_is_asked_for_over_grpc_is_an_hour_at_most_and_never_negative(seconds, pause):
    retry_info = AnyMessage(type_url="type.googleapis.com/google.rpc.RetryInfo")
    retry_info.value = wire.sized(DELAY, Duration(seconds=seconds).SerializeToString())
    details = wire.sized(DETAIL, retry_info.SerializeToString())
    assert judge_grpc("UNAVAILABLE", "", details, b"").retry_after_seconds == pause
