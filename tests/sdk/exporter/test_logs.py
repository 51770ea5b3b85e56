"""Log records of a stock SDK pipeline are committed when export returns, and go out as upstream sends them."""

from __future__ import annotations

import logging
import os
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import TraceFlags

from otel_perfmon import open_store
from otel_perfmon.otlp.log_encoding import encode_request
from otel_perfmon.sdk.log_exporter import UNWRITTEN_LOGS_MAX, SQLiteLogRecordExporter

RESOURCE = Resource({"service.name": "shop"}, "https://opentelemetry.io/schemas/1.30.0")
SCOPE = InstrumentationScope("shop.cart", "1", "https://example.org/schema", {"kind": "test"})


@pytest.fixture
def exporter(db_path):
    exporter = SQLiteLogRecordExporter(db_path)
    yield exporter
    exporter.shutdown()


def record(body="it happened", **fields) -> ReadableLogRecord:
    attributes = BoundedAttributes(attributes=fields.pop("attributes", {}), immutable=False)
    log = LogRecord(timestamp=5, observed_timestamp=6, body=body, attributes=attributes, **fields)
    return ReadableLogRecord(log, RESOURCE, SCOPE)


BODIES = ["text", "", None, 5, 2.5, True, b"\x00", ["a", {"b": None}], {"k": [1, 2]}]


def test_what_was_stored_goes_out_as_upstreams_exporter_sends_it(exporter, db_path):
    sent = [record(body, attributes={"a": ("x", "y"), "n": 1}) for body in BODIES]
    sent.append(
        record(
            severity_number=SeverityNumber.WARN2,
            severity_text="Warnung",
            event_name="shop.sold",
            trace_id=2**100,
            span_id=7,
            trace_flags=TraceFlags(1),
        )
    )
    assert exporter.export(sent) is LogRecordExportResult.SUCCESS
    with open_store(db_path) as store:
        assert encode_request(store.find_arrived_logs().items) == encode_logs(sent).SerializeToString()


def test_a_program_that_logs_within_a_span_has_the_record_beside_it(exporter, db_path):
    provider = LoggerProvider(RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with TracerProvider().get_tracer("t").start_as_current_span("op") as span:
        provider.get_logger("shop").emit(LogRecord(body="sold", severity_number=SeverityNumber.INFO))
    with open_store(db_path) as store:
        (log,) = store.find_logs()
    assert (log.body, log.severity, log.service) == ("sold", "INFO", "shop")
    assert (log.trace_id, log.span_id) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    provider.shutdown()


@pytest.fixture
def broken_path(tmp_path):
    path = tmp_path / "folder" / "metrics.db"
    return str(path)


def test_what_could_not_be_written_is_kept_bounded_and_written_with_the_next(broken_path, caplog):
    exporter = SQLiteLogRecordExporter(broken_path)
    Path(os.path.dirname(broken_path)).write_text("in the way")
    assert (
        exporter.export([record(str(number)) for number in range(UNWRITTEN_LOGS_MAX + 5)])
        is LogRecordExportResult.FAILURE
    )
    assert len(caplog.records) == 2
    assert "5 log records were not kept" in caplog.text
    os.remove(os.path.dirname(broken_path))
    os.mkdir(os.path.dirname(broken_path))
    assert exporter.export([record("last")]) is LogRecordExportResult.SUCCESS
    with open_store(broken_path) as store:
        assert store.summarize_store().span_count == 0
        bodies = [log.body for log in store.find_arrived_logs(limit=20_000).items]
    assert (len(bodies), bodies[0], bodies[-1]) == (UNWRITTEN_LOGS_MAX + 1, "5", "last")
    exporter.shutdown()


def call_with(act, at_step, function, *arguments):
    """Call the function; at that step of the code in its file ``act`` runs on another thread."""
    steps = iter(range(1_000))

    def trace(frame, _event, _argument):
        if frame.f_code.co_filename != function.__code__.co_filename:
            return None
        if next(steps) == at_step:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    assert next(steps) > at_step


def test_while_another_thread_writes_what_waits_each_record_is_stored_once(tmp_path):
    for step in range(12):  # taking what waits is the first that is done
        folder = tmp_path / str(step)
        exporter = SQLiteLogRecordExporter(str(folder / "metrics.db"))
        folder.write_text("in the way")
        exporter.export([record("0"), record("1")])

        def write_all(exporter=exporter, folder=folder):
            folder.unlink()
            folder.mkdir()
            exporter.export([record("2")])

        call_with(write_all, step, exporter.export, [record("3")])
        with open_store(exporter._recorder.path) as store:
            assert sorted(log.body for log in store.find_arrived_logs().items) == ["0", "1", "2", "3"], step
        exporter.shutdown()


class HandlerOfOtel(logging.Handler):
    """What brings records of the standard library's logging into the SDK."""

    def __init__(self, logger):
        super().__init__()
        self._logger = logger

    def emit(self, record):
        self._logger.emit(LogRecord(body=record.getMessage()))


def test_a_failure_that_is_logged_into_the_exporter_itself_ends(broken_path):
    exporter = SQLiteLogRecordExporter(broken_path)
    Path(os.path.dirname(broken_path)).write_text("in the way")
    provider = LoggerProvider(RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handler = HandlerOfOtel(provider.get_logger("shop"))
    logging.getLogger("otel_perfmon").addHandler(handler)
    try:
        provider.get_logger("shop").emit(LogRecord(body="sold"))
    finally:
        logging.getLogger("otel_perfmon").removeHandler(handler)
    provider.shutdown()


def test_a_record_that_cannot_be_read_keeps_none_of_the_others_from_being_stored(exporter, db_path):
    odd = ReadableLogRecord(LogRecord(body="odd", trace_id=2**200), RESOURCE, SCOPE)
    assert exporter.export([odd, record("fine")]) is LogRecordExportResult.SUCCESS
    with open_store(db_path) as store:
        assert [log.body for log in store.find_logs()] == ["fine"]


def test_after_shutdown_nothing_is_taken(exporter):
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export([record()]) is LogRecordExportResult.FAILURE


def test_the_sdk_finds_it_by_name():
    found = entry_points(group="opentelemetry_logs_exporter", name="sqlite")
    if not found:
        pytest.skip("the package is not installed as it is here")
    (entry,) = found
    assert entry.load() is SQLiteLogRecordExporter
