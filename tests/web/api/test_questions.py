"""Every question is answered as its description says, and as the store itself answers it."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import quote, urlencode

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from serve_kit import serving

from otel_perfmon import MetricsStorage, PerformanceMonitor, SpanQuery, open_store
from otel_perfmon.json_form import as_json
from otel_perfmon.web.api.questions import QUESTIONS

ODD = "GET /cart?é=<script>\u2028&\x1b[31m"
ASKED = {
    "/api/operations": {"window": "1h", "is_by_service": "true"},
    "/api/series": {"operation": ODD, "cells_max": "5"},
    "/api/counts": {"operation": ODD, "window": "1h"},
    "/api/heatmap": {"window": "15m", "rows_max": "7"},
    "/api/spans": {"attribute": 'cart.size="3"', "order": "slowest", "limit": "2", "is_error": "false"},
    "/api/errors": {"limit": "1"},
    "/api/logs": {"severity_min": "9"},
    "/api/traces/{trace_id}/matches": {"text": "CART.size"},
    "/api/sql": {"sql": "SELECT name, duration_ms, x'00' AS raw FROM spans", "rows_max": "2"},
}
"""Parameters that a question wants, or that make its answer tell more."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "metrics.db")
    monitor = PerformanceMonitor(MetricsStorage(path))
    for number in range(3):
        with (
            monitor.monitor(ODD, attributes={"cart.size": str(number + 1), "odd": float("nan")}),
            monitor.monitor("load"),
        ):
            pass
    with pytest.raises(ZeroDivisionError), monitor.monitor("fail"):
        raise ZeroDivisionError(ODD)
    monitor.force_flush()
    with serving(path, "--no-grpc") as served:
        yield served


@pytest.fixture(scope="module")
def document(served):
    return served.get("/api/openapi.json").json()


def address(question, store) -> str:
    trace_id = store.find_spans(SpanQuery(operation=ODD)).spans[0].trace_id
    query = urlencode(ASKED.get(question.path, {}))
    return quote(question.path.format(trace_id=trace_id)) + (f"?{query}" if query else "")


def test_the_description_is_openapi_and_knows_every_question(document):
    validate(document)
    assert set(document["paths"]) == {each.path for each in QUESTIONS}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.path)
def test_each_answer_is_as_it_is_described(served, document, question):
    with open_store(served.path) as store:
        answer = served.get(address(question, store))
    assert answer.status == 200, answer.body
    schema = document["paths"][question.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_the_answers_are_those_of_the_store(served):
    with open_store(served.path) as store:
        operations = store.summarize_operations(is_by_service=True)
        assert served.get("/api/operations?is_by_service=true").json()["items"] == as_json(operations)
        query = SpanQuery(attributes={"cart.size": "3"})
        expected = as_json(store.find_spans(query))
        assert served.get("/api/spans?" + urlencode({"attribute": 'cart.size="3"'})).json() == json.loads(
            json.dumps(expected)
        )
        assert len(expected["spans"]) == 1
        trace = store.get_trace(store.find_spans(query).spans[0].trace_id)
        told = served.get(f"/api/traces/{trace.trace_id}").json()
        assert [node["span"]["span_id"] for node in told["tree"]["nodes"]] == [
            node.span.span_id for node in trace.tree().nodes
        ]
        assert told["tree"]["nodes"][0]["self_nano"] == trace.tree().nodes[0].self_nano


def test_pages_follow_each_other(served):
    names, token = [], ""
    while token is not None:
        page = served.get("/api/spans?limit=3&order=oldest" + (f"&page_token={quote(token)}" if token else "")).json()
        names += [span["span_id"] for span in page["spans"]]
        token = page["next_page_token"]
        assert len(names) < 20
    assert len(names) == len(set(names)) == 7


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("operations?windw=1h", 400, "no parameter 'windw' here; there are operation, service, window"),
        ("store?x=1", 400, "there are none"),
        ("operations?window=1h&window=2h", 400, "window stands there twice"),
        ("operations?window=yesterday", 400, "yesterday"),
        ("heatmap?cells_max=1001", 400, "from 1 to 1000"),
        ("heatmap?cells_max=0", 400, "from 1 to 1000"),
        ("heatmap?cells_max=" + "9" * 5000, 400, "from 1 to 1000"),
        ("spans?limit=-1", 400, "from 1 to 10000"),
        ("spans?is_slow=yes", 400, "true or false"),
        ("spans?min_duration_ms=nan", 400, "0 or more"),
        ("spans?min_duration_ms=fast", 400, "fast"),
        ("spans?attribute=size", 400, "KEY=VALUE"),
        ("spans?attribute=a=1&attribute=a=2", 400, "each key once"),
        ("spans?order=random", 400, "one of newest, oldest"),
        ("spans?page_token=nonsense", 400, "page_token"),
        ("counts", 400, "operation is wanted"),
        ("sql", 400, "sql is wanted"),
        ("sql?sql=DELETE+FROM+_spans", 400, "more than to read"),
        ("sql?sql=SELECT+1;SELECT+2", 400, "One statement"),
        ("traces/" + "0" * 31 + "1", 404, ""),
        ("traces/xyz", 400, ""),
        ("nowhere", 404, "nothing at this address"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_sentence(served, asked, status, told):
    answer = served.get(f"/api/{asked}")
    assert (answer.status, set(answer.json())) == (status, {"error", "message"})
    assert told in answer.json()["message"]


def test_nothing_is_changed_over_http(served):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        head = f"{method} /api/spans HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
        answer = served.say(f"{head}Authorization: Bearer {served.token}\r\n\r\n".encode())
        assert answer.split()[1] == b"405"


def test_slow_questions_end_and_hold_up_no_other(served):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    head = f"GET /api/sql?{urlencode({'sql': endless})} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    began = time.monotonic()
    heard = []
    question = f"{head}Authorization: Bearer {served.token}\r\n\r\n".encode()
    slow = [threading.Thread(target=lambda: heard.append(served.say(question))) for _ in range(4)]
    for thread in slow:
        thread.start()
    time.sleep(0.5)
    for address in ("/api/operations", "/"):
        assert served.get(address).status == 200
    assert all(thread.is_alive() for thread in slow), "none of the others was waited for"
    for thread in slow:
        thread.join(30)
    assert {each.split()[1] for each in heard} == {b"503"}
    assert all(b"took longer than 5 s" in each for each in heard)
    assert time.monotonic() - began < 30


def test_a_store_that_is_not_there_yet_is_told(tmp_path):
    with serving(str(tmp_path / "metrics.db"), "--no-grpc") as served:
        answer = served.get("/api/operations")
        assert answer.status in {200, 503}
        assert served.get("/api/openapi.json").status == 200
