"""The exporters in a stock SDK pipeline, beside `configure()`, and when the disk or the settings are bad."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import time
from contextlib import closing
from importlib.metadata import entry_points
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    Gauge,
    Histogram,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from otel_perfmon import (
    SpanQuery,
    SQLiteMetricExporter,
    SQLiteSpanExporter,
    TimeOrderedIdGenerator,
    configure,
    open_store,
)
from otel_perfmon.sdk.exporter import PREFERRED_TEMPORALITY
from otel_perfmon.storage.sqlite.file_lock import FileLock

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
SPAN_COUNT = 500


def rows_of(path: str) -> list[dict[str, Any]]:
    """Every column of every span, what it refers to by number in its own words, without the row id."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(
            "SELECT s.*, o.name AS operation, v.name AS service, v.version AS service_version, v.environment,"
            " r.attributes AS resource, r.schema_url AS resource_schema_url, c.name AS scope,"
            " c.version AS scope_version, c.schema_url AS scope_schema_url, c.attributes AS scope_attributes"
            " FROM _spans s JOIN _operations o ON o.id = s.operation_id JOIN _services v ON v.id = o.service_id"
            " JOIN _resources r ON r.id = s.resource_id JOIN _scopes c ON c.id = s.scope_id"
            " ORDER BY s.trace_id, s.span_id, s.start_unix_nano, s.end_unix_nano"
        ).fetchall()
    numbers = ("id", "operation_id", "resource_id", "scope_id")
    return [{key: row[key] for key in row.keys() if key not in numbers} for row in rows]  # noqa: SIM118 - a Row's values are its elements


def count_of(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM _spans").fetchone()[0]


def generated_value(rng: random.Random, depth: int = 2) -> Any:
    choices = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-(2**63), 2**63 - 1),
        lambda: rng.choice([rng.gauss(0, 1e6), 0.0, -0.0, float("nan"), float("inf"), 1e-300]),
        lambda: "".join(rng.choice('aé€😀"\\\n\0@{}') for _ in range(rng.randint(0, 12))),
        lambda: rng.randbytes(rng.randint(0, 9)),
    ]
    if depth:
        choices.append(lambda: [generated_value(rng, depth - 1) for _ in range(rng.randint(0, 3))])
        choices.append(lambda: generated_attributes(rng, depth - 1))
    return rng.choice(choices)()


def generated_attributes(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    return {f"{rng.choice(['k', '@k', 'a.b'])}{n}": generated_value(rng, depth) for n in range(rng.randint(0, 4))}


def generated_context(rng: random.Random) -> SpanContext:
    state = TraceState([(f"k{n}", str(rng.random())) for n in range(rng.randint(0, 2))])
    flags = TraceFlags(rng.choice([1, 3]))
    return SpanContext(rng.getrandbits(128) | 1, rng.getrandbits(64) | 1, rng.random() < 0.5, flags, state)


def generate_spans(provider: trace.TracerProvider, count: int, seed: int = 7) -> None:
    """End ``count`` spans of every kind on the provider."""
    rng = random.Random(seed)
    tracers = [
        provider.get_tracer(
            f"lib{n}", f"{n}.0" if n else None, "https://e.org/s" if n else None, {"n": n} if n else None
        )
        for n in range(3)
    ]
    for n in range(count):
        parent = rng.choice([None, NonRecordingSpan(generated_context(rng))])
        start = 10**18 + n * 10**7
        span = rng.choice(tracers).start_span(
            rng.choice(["GET /", "SELECT", "work é", "", f"op{n % 50}"]),
            context=trace.set_span_in_context(parent) if parent else None,
            kind=rng.choice(list(SpanKind)),
            attributes=generated_attributes(rng),
            links=[Link(generated_context(rng), generated_attributes(rng)) for _ in range(rng.randint(0, 5))],
            start_time=start,
        )
        for _ in range(rng.randint(0, 5)):
            span.add_event(rng.choice(["e", "log", ""]), generated_attributes(rng), start + rng.randint(0, 10**6))
        if rng.random() < 0.2:
            span.record_exception(ValueError(f"no {n}"), timestamp=start)
        if rng.random() < 0.3:
            span.set_status(rng.choice([StatusCode.OK, StatusCode.ERROR]), "it failed")
        span.end(start + rng.choice([0, 1, rng.randint(0, 10**9), rng.randint(10**9, 10**12)]))


def make_provider() -> TracerProvider:
    return TracerProvider(
        resource=Resource({"service.name": "shop", "service.version": "2"}, "https://opentelemetry.io/schemas/1.29.0"),
        span_limits=SpanLimits(max_span_attributes=3, max_events=4, max_links=4, max_link_attributes=2),
        shutdown_on_exit=False,
    )


@pytest.fixture
def span():
    """An ended span of a stock provider."""
    return ended("op")


def ended(name: str, **fields: Any) -> Any:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span(name, **fields)
    span.end()
    return span


@pytest.fixture
def exporter(db_path):
    exporter = SQLiteSpanExporter(db_path)
    yield exporter
    exporter.shutdown()


# --- two doors, one result


def test_a_stock_pipeline_and_configure_store_the_same_spans_with_the_same_columns(fresh_process, tmp_path):
    stock, ours = str(tmp_path / "stock.db"), str(tmp_path / "ours.db")
    provider = make_provider()
    provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(stock)))
    trace.set_tracer_provider(provider)
    configure(ours)
    generate_spans(provider, SPAN_COUNT)
    assert provider.force_flush()
    stored, same = rows_of(stock), rows_of(ours)
    assert len(stored) == SPAN_COUNT
    assert len(stored[0]) == 24
    for left, right in zip(stored, same, strict=True):
        assert left == right


@pytest.mark.parametrize("processor", [BatchSpanProcessor, SimpleSpanProcessor])
@pytest.mark.parametrize("is_exporter_first", [True, False])
def test_both_doors_on_one_file_at_once_store_each_span_once(
    fresh_process, db_path, tmp_path, processor, is_exporter_first
):
    alone = str(tmp_path / "alone.db")
    provider = make_provider()
    provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter(alone)))
    trace.set_tracer_provider(provider)
    if is_exporter_first:
        provider.add_span_processor(processor(SQLiteSpanExporter(db_path)))
        monitor = configure(db_path)
    else:
        monitor = configure(db_path)
        provider.add_span_processor(processor(SQLiteSpanExporter(os.path.join("..", tmp_path.name, "metrics.db"))))
    generate_spans(provider, SPAN_COUNT)
    assert provider.force_flush()
    assert rows_of(db_path) == rows_of(alone)
    assert monitor.storage.store.get_health().ended == SPAN_COUNT


def test_a_span_that_one_exporter_is_given_twice_is_two_spans(exporter, span, db_path):
    exporter.export([span])
    exporter.export([span])
    assert count_of(db_path) == 2


def test_spans_with_repeated_ids_are_all_kept_through_both_doors(fresh_process, db_path):
    class Repeating(IdGenerator):
        def generate_trace_id(self) -> int:
            return 5

        def generate_span_id(self) -> int:
            return 6

    provider = TracerProvider(id_generator=Repeating(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db_path)))
    trace.set_tracer_provider(provider)
    configure(db_path)
    for n in range(10):
        provider.get_tracer("t").start_span("op", start_time=n).end(10 + n)
    assert provider.force_flush()
    assert count_of(db_path) == 10


# --- what export promises


def test_what_export_answered_with_success_another_process_sees(exporter, db_path, run_python):
    assert exporter.export([ended(f"op{n}") for n in range(3)]) is SUCCESS
    printed = run_python(f"""
        import sqlite3
        print(sqlite3.connect({db_path!r}).execute("SELECT count(*) FROM metrics").fetchone()[0])
    """)
    assert printed.strip() == "3"


def test_an_empty_export_succeeds(exporter):
    assert exporter.export([]) is SUCCESS
    assert exporter.export(()) is SUCCESS


def test_after_shutdown_export_fails_and_stores_nothing(exporter, span, db_path):
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()
    exporter.shutdown()
    assert exporter.export([span]) is FAILURE
    assert count_of(db_path) == 1


def test_an_exporter_that_is_shut_down_leaves_the_file_to_the_others(db_path, span):
    first, second = SQLiteSpanExporter(db_path), SQLiteSpanExporter(db_path)
    first.shutdown()
    assert second.export([span]) is SUCCESS
    second.shutdown()
    third = SQLiteSpanExporter(db_path)
    assert third.export([span]) is SUCCESS
    third.shutdown()
    assert count_of(db_path) == 2


def test_simple_processors_on_eight_threads_store_every_span_once(db_path):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SQLiteSpanExporter(db_path)))
    tracer = provider.get_tracer("t")

    def work(number: int) -> None:
        for n in range(100):
            tracer.start_span(f"op{number}", attributes={"n": n}).end()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_store(db_path) as store:
        assert {each.operation: each.count for each in store.summarize_operations()} == {
            f"op{n}": 100 for n in range(8)
        }
        assert store.get_health().dropped == {}
    provider.shutdown()
    assert count_of(db_path) == 800


def test_spans_are_kept_when_the_program_ends_without_a_word(run_python, db_path):
    run_python(f"""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from otel_perfmon import SQLiteSpanExporter
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(SQLiteSpanExporter({db_path!r})))
        for n in range(1000):
            provider.get_tracer("t").start_span("op").end()
    """)
    assert count_of(db_path) == 1000


# --- the constructor: never raises, never touches the disk


BAD_ENVIRONMENTS = [
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "soon"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "-1"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "1e305"},
    {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "nan"},
    {"OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "0"},
    {"OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "1e308"},
    {"OTEL_PYTHON_PERFMON_PATH": ":memory:"},
    {"OTEL_PYTHON_PERFMON_PATH": "file:x?mode=memory"},
    {"OTEL_PYTHON_PERFMON_DURABILITY": "always"},
    {"OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD": "2"},
    {"SLOW_REQUEST_THRESHOLD_MS": "fast", "SAMPLING_WINDOW_SECONDS": "-5", "ERROR_RATE_THRESHOLD": "x"},
]


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
@pytest.mark.parametrize("environment", BAD_ENVIRONMENTS, ids=str)
def test_a_wrong_setting_is_logged_and_never_raised(monkeypatch, tmp_path, kind, environment, span):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    exporter = kind()
    assert os.listdir(tmp_path) == []
    if kind is SQLiteSpanExporter:
        assert exporter.export([span]) is SUCCESS
        assert count_of("metrics.db") == 1
    exporter.shutdown()


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": 5},
        {"path": ""},
        {"path": "a\0b"},
        {"slow_threshold_ms": "x"},
        {"slow_threshold_ms": 1e305},
        {"slow_threshold_ms": 10**5000},
        {"slow_threshold_ms": True},
        {"retention_seconds": -1},
        {"retention_seconds": float("nan")},
        {"retention_seconds": [1]},
        {"endpoint": "http://x", "insecure": True},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_wrong_or_unknown_argument_is_logged_by_its_name_and_never_raised(caplog, tmp_path, arguments, span):
    exporter = SQLiteSpanExporter(**arguments)
    assert os.listdir(tmp_path) == []
    if arguments != {"slow_threshold_ms": 1e305}:
        assert all(name in caplog.text for name in arguments)
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
def test_a_working_directory_that_is_gone_does_not_stop_the_constructor(tmp_path, monkeypatch, kind):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    exporter = kind()
    exporter.shutdown()


@pytest.mark.parametrize("kind", [SQLiteSpanExporter, SQLiteMetricExporter])
def test_a_path_that_cannot_be_written_does_not_stop_the_constructor_or_the_shutdown(tmp_path, kind):
    (tmp_path / "file").write_text("x")
    exporter = kind(str(tmp_path / "file" / "metrics.db"))
    exporter.shutdown()
    assert os.listdir(tmp_path) == ["file"]


def test_the_path_of_the_exporter_may_hold_any_character(tmp_path, span):
    path = tmp_path / "a ?mode=ro#b%20é;.db"
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([span]) is SUCCESS
    exporter.shutdown()
    assert count_of(str(path)) == 1


def test_a_relative_path_means_the_directory_at_the_time_it_was_given(tmp_path, monkeypatch, span):
    exporter = SQLiteSpanExporter("here.db")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    exporter.export([span])
    exporter.shutdown()
    assert (tmp_path / "here.db").exists()


# --- a disk in trouble


def test_disk_trouble_is_a_failure_and_no_exception_and_what_was_queued_is_stored_later(tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.write_text("a file where a folder should be")
    path = str(folder / "metrics.db")
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([ended("first")]) is FAILURE
    assert exporter.export([ended("second")]) is FAILURE
    assert exporter.force_flush(100) is False
    folder.unlink()
    folder.mkdir()
    assert exporter.export([ended("third")]) is SUCCESS
    assert exporter.force_flush(100) is True
    exporter.shutdown()
    assert sorted(row["operation"] for row in rows_of(path)) == ["first", "second", "third"]


@pytest.mark.parametrize(
    "content", [b"just some text\n", b"SQLite format 3\0" + b"\xff" * 4000], ids=["text", "damaged"]
)
def test_a_file_that_is_no_store_is_a_failure_and_stays_byte_for_byte(tmp_path, span, content):
    path = tmp_path / "metrics.db"
    path.write_bytes(content)
    exporter = SQLiteSpanExporter(path)
    assert exporter.export([span]) is FAILURE
    exporter.shutdown()
    assert path.read_bytes() == content


def test_a_store_deleted_under_the_exporter_is_made_anew(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    for name in (db_path, db_path + "-wal", db_path + "-shm"):
        if os.path.exists(name):
            os.unlink(name)
    assert exporter.export([span]) is SUCCESS
    assert count_of(db_path) == 1


def test_a_flush_while_another_process_holds_the_write_lock_is_false_and_in_time(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    lock = FileLock(db_path + ".lock")
    with lock.held(1):
        exporter._door.take(span)
        began = time.monotonic()
        assert exporter.force_flush(100) is False
        assert time.monotonic() - began < 0.6
    lock.close()
    assert exporter.force_flush(5000) is True
    assert count_of(db_path) == 2


def test_a_flush_while_another_program_writes_into_the_file_is_false_and_in_time(exporter, db_path, span):
    assert exporter.export([span]) is SUCCESS
    with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        exporter._door.take(span)
        began = time.monotonic()
        assert exporter.force_flush(100) is False
        assert time.monotonic() - began < 0.6
        other.execute("ROLLBACK")
    assert exporter.force_flush(5000) is True
    assert count_of(db_path) == 2


# --- built by the SDK itself


def test_the_entry_points_lead_to_our_classes():
    wanted = {
        ("opentelemetry_traces_exporter", "sqlite"): SQLiteSpanExporter,
        ("opentelemetry_metrics_exporter", "sqlite"): SQLiteMetricExporter,
        ("opentelemetry_id_generator", "perfmon"): TimeOrderedIdGenerator,
    }
    for (group, name), kind in wanted.items():
        (found,) = entry_points(group=group, name=name)
        assert found.load() is kind
    assert issubclass(SQLiteSpanExporter, SpanExporter)
    assert issubclass(SQLiteMetricExporter, MetricExporter)


CONFIGURED_PROGRAM = """
    from opentelemetry import metrics, trace
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    _OTelSDKConfigurator()._configure()
    with trace.get_tracer("t").start_as_current_span("outer"):
        with trace.get_tracer("t").start_as_current_span("inner"):
            metrics.get_meter("m").create_counter("clicks").add(3)
    print(type(trace.get_tracer_provider()).__module__)
"""
SDK_ENVIRONMENT = {
    "OTEL_TRACES_EXPORTER": "sqlite",
    "OTEL_METRICS_EXPORTER": "sqlite",
    "OTEL_PYTHON_ID_GENERATOR": "perfmon",
    "OTEL_SERVICE_NAME": "configured",
}


def test_the_sdk_builds_the_exporters_from_its_own_variables(run_python, db_path):
    run_python(CONFIGURED_PROGRAM, OTEL_PYTHON_PERFMON_PATH=db_path, **SDK_ENVIRONMENT)
    with open_store(db_path) as store:
        spans = store.find_spans(SpanQuery(order="oldest"))
        assert [each.name for each in spans] == ["inner", "outer"]
        assert {each.service for each in spans} == {"configured"}
        (point,) = store.find_points("clicks")
        assert (point.data["value"], point.temporality) == (3, AggregationTemporality.DELTA)
    now_ms = time.time_ns() // 10**6
    assert 0 <= now_ms - (int(spans[0].trace_id, 16) >> 80) < 60_000


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "soon", "OTEL_PYTHON_PERFMON_RETENTION_SECONDS": "never"},
        {"OTEL_PYTHON_PERFMON_PATH": "/dev/null/metrics.db"},
    ],
    ids=["settings", "path"],
)
def test_a_program_that_the_sdk_configured_runs_on_whatever_our_settings_are(run_python, environment):
    assert run_python(CONFIGURED_PROGRAM, **environment, **SDK_ENVIRONMENT).strip() == "opentelemetry.sdk.trace"


# --- metrics


def points_of(data: Any) -> list[dict[str, Any]]:
    """The points of an SDK reader, in the words of a `PointRecord`."""
    kinds = {Sum: "sum", Gauge: "gauge", Histogram: "histogram", ExponentialHistogram: "exponential_histogram"}
    points = []
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points += [
                    {
                        "instrument": metric.name,
                        "kind": kinds[type(metric.data)],
                        "unit": metric.unit or "",
                        "description": metric.description or "",
                        "temporality": int(getattr(metric.data, "aggregation_temporality", 0)),
                        "is_monotonic": getattr(metric.data, "is_monotonic", False),
                        "attributes": dict(point.attributes),
                        "start_unix_nano": point.start_time_unix_nano or 0,
                        "time_unix_nano": point.time_unix_nano,
                        "data": figures_of(point),
                        "resource": (dict(resource.resource.attributes), resource.resource.schema_url),
                        "scope": (scope.scope.name, scope.scope.version or ""),
                    }
                    for point in metric.data.data_points
                ]
    return points


def figures_of(point: Any) -> dict[str, Any]:
    figures = {
        name: getattr(point, name)
        for name in ("value", "count", "sum", "min", "max", "scale", "zero_count")
        if hasattr(point, name)
    }
    for name in ("bucket_counts", "explicit_bounds"):
        if hasattr(point, name):
            figures[name] = tuple(getattr(point, name))
    for name in ("positive", "negative"):
        if hasattr(point, name):
            buckets = getattr(point, name)
            figures[name] = {"offset": buckets.offset, "bucket_counts": tuple(buckets.bucket_counts)}
    if point.exemplars:
        figures["exemplars"] = tuple(exemplar_of(each) for each in point.exemplars)
    return figures


def exemplar_of(exemplar: Any) -> dict[str, Any]:
    figures = {"time_unix_nano": exemplar.time_unix_nano, "value": exemplar.value}
    if exemplar.trace_id is not None:
        figures["trace_id"] = trace.format_trace_id(exemplar.trace_id)
        figures["span_id"] = trace.format_span_id(exemplar.span_id)
    if exemplar.filtered_attributes:
        figures["filtered_attributes"] = dict(exemplar.filtered_attributes)
    return figures


def stored_points(path: str, *, has_times: bool = True) -> list[dict[str, Any]]:
    with open_store(path) as store:
        points = store.find_points()
    result = []
    for point in reversed(points):
        fields = {name: getattr(point, name) for name in point.__dataclass_fields__}
        fields["resource"] = (point.resource.attributes, point.resource.schema_url)
        fields["scope"] = (point.scope.name, point.scope.version)
        result.append(fields)
    return result if has_times else [without_times(each) for each in result]


def without_times(point: dict[str, Any]) -> dict[str, Any]:
    """And without exemplars, which each reader picks at random."""
    point = {name: value for name, value in point.items() if not name.endswith("_unix_nano")}
    return {**point, "data": {name: value for name, value in point["data"].items() if name != "exemplars"}}


def by_key(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(points, key=lambda each: (each["instrument"], str(each["attributes"])))


VIEWS = [
    View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation()),
    View(instrument_name="narrow", attribute_keys={"kept"}),
]


def use_every_instrument(provider: MeterProvider, tracer: trace.Tracer) -> None:
    meter = provider.get_meter("m", "1.0")
    meter.create_observable_gauge("o-gauge", [lambda _: [Observation(1.5, {"a": 1}), Observation(-2)]], unit="Cel")
    meter.create_observable_counter("o-counter", [lambda _: [Observation(5)]])
    meter.create_observable_up_down_counter("o-updown", [lambda _: [Observation(-7)]])
    with tracer.start_as_current_span("op"):
        counter = meter.create_counter("counter", "1", "It counts.")
        counter.add(2, {"a": "x"})
        counter.add(3, {"a": "x"})
        counter.add(2**62, {"a": "y", "flags": (True, False)})
        meter.create_counter("float-counter").add(0.1)
        meter.create_up_down_counter("updown").add(-4)
        meter.create_gauge("gauge").set(1e300)
        histogram = meter.create_histogram("histogram", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
        for value in (0.05, 0.5, 5):
            histogram.record(value, {"k": "v"})
        exponential = meter.create_histogram("exponential")
        for value in (0, 0.25, 3, 3, 1000):
            exponential.record(value)
        meter.create_counter("narrow").add(1, {"kept": 1, "left out": "seen in the exemplar"})


def test_points_of_every_instrument_come_back_equal_to_the_sdks_own(db_path):
    reader = InMemoryMetricReader(preferred_temporality=PREFERRED_TEMPORALITY)
    provider = MeterProvider([reader], Resource({"service.name": "s"}), shutdown_on_exit=False, views=VIEWS)
    exporter = SQLiteMetricExporter(db_path)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    use_every_instrument(provider, tracer)
    first = reader.get_metrics_data()
    assert exporter.export(first) is MetricExportResult.SUCCESS
    provider.get_meter("m", "1.0").create_counter("counter", "1", "It counts.").add(10, {"a": "x"})
    second = reader.get_metrics_data()
    assert exporter.export(second) is MetricExportResult.SUCCESS
    expected = points_of(first) + points_of(second)
    stored = stored_points(db_path)
    key = lambda each: (each["time_unix_nano"], each["instrument"], str(each["attributes"]))  # noqa: E731
    assert sorted(stored, key=key) == sorted(expected, key=key)
    assert {each["kind"] for each in stored} == {"sum", "gauge", "histogram", "exponential_histogram"}
    assert any(each["data"].get("exemplars") for each in stored)
    exporter.shutdown()
    provider.shutdown()


def test_a_periodic_reader_stores_what_an_in_memory_reader_with_the_same_preferences_holds(db_path):
    oracle = InMemoryMetricReader(preferred_temporality=PREFERRED_TEMPORALITY)
    periodic = PeriodicExportingMetricReader(SQLiteMetricExporter(db_path), export_interval_millis=3_600_000)
    provider = MeterProvider([periodic, oracle], Resource({"service.name": "s"}), shutdown_on_exit=False, views=VIEWS)
    use_every_instrument(provider, TracerProvider(shutdown_on_exit=False).get_tracer("t"))
    assert periodic.force_flush()
    expected = [without_times(each) for each in points_of(oracle.get_metrics_data())]
    assert by_key(stored_points(db_path, has_times=False)) == by_key(expected)
    provider.shutdown()


@pytest.mark.parametrize(
    ("kind", "temporality"),
    [
        (Counter, AggregationTemporality.DELTA),
        (HistogramInstrument, AggregationTemporality.DELTA),
        (UpDownCounter, AggregationTemporality.CUMULATIVE),
    ],
)
def test_counters_and_histograms_are_asked_for_as_deltas(kind, temporality):
    exporter = SQLiteMetricExporter()
    assert exporter._preferred_temporality[kind] is temporality
    exporter.shutdown()


def test_the_deltas_of_a_counter_add_up_over_any_number_of_exports(db_path):
    reader = PeriodicExportingMetricReader(SQLiteMetricExporter(db_path), export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("m").create_counter("clicks")
    for n in range(1, 6):
        counter.add(n)
        provider.force_flush()
    provider.shutdown()
    with open_store(db_path) as store:
        assert [each.data["value"] for each in store.find_points("clicks")] == [5, 4, 3, 2, 1]
        assert store.find_points("nothing") == []
        assert [each.data["value"] for each in store.find_points("clicks", limit=2)] == [5, 4]


def test_points_that_cannot_be_written_are_a_failure_without_an_exception(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("c").add(1)
    exporter = SQLiteMetricExporter(tmp_path / "file" / "metrics.db")
    with caplog.at_level(logging.WARNING, "otel_perfmon"):
        assert exporter.export(reader.get_metrics_data()) is MetricExportResult.FAILURE
    assert "metrics.db" in caplog.text
    exporter.shutdown()
    assert exporter.export(None) is MetricExportResult.FAILURE
    provider.shutdown()


def test_metric_points_and_spans_share_one_file_without_a_word(db_path, span):
    metric_exporter, span_exporter = SQLiteMetricExporter(db_path), SQLiteSpanExporter(db_path)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(metric_exporter, export_interval_millis=3_600_000)], shutdown_on_exit=False
    )
    provider.get_meter("m").create_counter("c").add(1)
    assert span_exporter.export([span]) is SUCCESS
    provider.shutdown()
    assert span_exporter.export([span]) is SUCCESS
    span_exporter.shutdown()
    with open_store(db_path) as store:
        assert (len(store.find_spans(SpanQuery())), len(store.find_points())) == (2, 1)
