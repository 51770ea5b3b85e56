"""configure() and get_monitor(): what they install, what they leave alone, and who stores what."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from monitor_kit import exported_names, names, stored
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, AlwaysRecordSampler

from otel_perfmon import (
    Alert,
    ConfigError,
    MetricsStorage,
    PerformanceMonitor,
    StoreError,
    configure,
    get_monitor,
)
from otel_perfmon.alerts import AlertRule
from otel_perfmon.sdk.exporter import SQLiteMetricExporter, SQLiteSpanExporter
from otel_perfmon.sdk.processor import StoreSpanProcessor

pytestmark = pytest.mark.usefixtures("fresh_process")


def use_provider(**arguments) -> tuple[TracerProvider, InMemorySpanExporter]:
    """An SDK provider with an exporter, set as the global one, as a user's program does."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, **arguments)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider, exporter


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- what is installed


def test_configure_installs_a_global_sdk_provider_and_stores_every_span_of_it_with_the_same_flags():
    monitor = configure("metrics.db", slow_threshold_ms=0)
    assert isinstance(trace.get_tracer_provider(), TracerProvider)
    with trace.get_tracer("library", "1.0").start_as_current_span("theirs"), monitor.monitor("ours"):
        pass
    with pytest.raises(ValueError, match="boom"), trace.get_tracer("library").start_as_current_span("failing"):
        raise ValueError("boom")
    spans = stored(monitor.storage)
    assert spans["ours"].parent_span_id == spans["theirs"].span_id
    assert spans["theirs"].is_slow
    assert spans["ours"].is_slow
    assert (spans["failing"].is_error, spans["failing"].error_type) == (True, "ValueError")
    assert spans["theirs"].scope.version == "1.0"


def test_configure_makes_no_file_until_something_is_recorded_and_then_the_one_it_was_told():
    monitor = configure("folder-less.db")
    assert os.listdir() == []
    with monitor.monitor("op"):
        pass
    assert monitor.force_flush() is True
    assert Path("folder-less.db").exists()
    assert monitor.storage.path == str(Path("folder-less.db").absolute())


def test_configure_without_a_path_means_metrics_db():
    monitor = configure()
    with monitor.monitor("op"):
        pass
    monitor.force_flush()
    assert Path("metrics.db").exists()


def test_configure_takes_its_service_name_and_resource_attributes_before_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from the environment")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a,region=eu")
    monitor = configure("metrics.db", service_name="checkout", resource_attributes={"team": "b"})
    with monitor.monitor("op"):
        pass
    span = stored(monitor.storage)["op"]
    assert span.service == "checkout"
    assert span.resource.attributes["team"] == "b"
    assert span.resource.attributes["region"] == "eu"


def test_tracers_made_before_configure_are_stored_after_it():
    tracer = trace.get_tracer("early")
    with tracer.start_as_current_span("before"):
        pass
    monitor = configure("metrics.db")
    with tracer.start_as_current_span("after"):
        pass
    assert names(monitor.storage) == ["after"]


def test_an_sdk_provider_that_is_there_stays_and_gets_our_processor_once_and_first():
    provider, exporter = use_provider()
    for _ in range(3):
        monitor = configure("metrics.db")
    assert trace.get_tracer_provider() is provider
    processors = provider._active_span_processor._span_processors
    assert [isinstance(each, StoreSpanProcessor) for each in processors] == [True, False]
    with trace.get_tracer("x").start_as_current_span("theirs"), monitor.monitor("ours"):
        pass
    assert names(monitor.storage) == exported_names(exporter) == ["ours", "theirs"]
    assert monitor.storage.get_stats("ours").count == monitor.storage.get_stats("theirs").count == 1


def test_a_provider_with_concurrent_processors_gets_ours_as_well():
    provider, exporter = use_provider(active_span_processor=ConcurrentMultiSpanProcessor(2))
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == exported_names(exporter) == ["op"]
    provider.shutdown()


def test_a_slow_exporter_of_the_users_does_not_keep_the_provider_from_flushing_ours(monkeypatch):
    class Failing(SpanExporter):
        def export(self, spans):
            raise ConnectionError("down")

        def shutdown(self) -> None: ...

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Failing()))
    trace.set_tracer_provider(provider)
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    provider.force_flush(2_000)
    assert monitor.storage.recorder.queued_count == 0
    provider.shutdown()
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def test_spans_that_a_users_sampler_only_records_are_stored_and_not_exported():
    _, exporter = use_provider(sampler=AlwaysRecordSampler(ALWAYS_OFF))
    monitor = configure("metrics.db")
    with monitor.monitor("op"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(monitor.storage) == ["op", "theirs"]
    assert exported_names(exporter) == []


def test_the_users_pipelines_see_that_a_span_is_slow():
    _, exporter = use_provider()
    monitor = configure("metrics.db", slow_threshold_ms=0)
    with monitor.monitor("op"):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.attributes["perfmon.slow"] is True


def test_no_meter_provider_is_installed_without_readers_and_the_users_own_later_one_sees_the_operations():
    monitor = configure("metrics.db")
    with monitor.monitor("before"):
        pass
    assert not isinstance(metrics.get_meter_provider(), MeterProvider)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    with monitor.monitor("after"):
        pass
    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    assert [dict(point.attributes) for point in metric.data.data_points] == [{"perfmon.operation": "after"}]


def test_metric_readers_get_a_global_meter_provider_with_the_same_resource():
    reader = InMemoryMetricReader()
    monitor = configure("metrics.db", service_name="checkout", metric_readers=[reader])
    assert isinstance(metrics.get_meter_provider(), MeterProvider)
    metrics.get_meter("theirs").create_counter("requests").add(1)
    with monitor.monitor("op"):
        pass
    (resource,) = reader.get_metrics_data().resource_metrics
    assert resource.resource.attributes["service.name"] == "checkout"
    assert sorted(metric.name for scope in resource.scope_metrics for metric in scope.metrics) == [
        "perfmon.operation.duration",
        "requests",
    ]


def test_metric_readers_beside_a_meter_provider_that_is_there_are_warned_of(caplog):
    theirs = MeterProvider()
    metrics.set_meter_provider(theirs)
    configure("metrics.db", metric_readers=[InMemoryMetricReader()])
    assert metrics.get_meter_provider() is theirs
    assert any("metric_readers" in message for message in warnings_in(caplog))


class _Span(trace.NonRecordingSpan):
    pass


class _Tracer(trace.Tracer):
    def start_span(self, *args, **kwargs):
        return _Span(trace.INVALID_SPAN_CONTEXT)

    def start_as_current_span(self, *args, **kwargs):
        return trace.use_span(self.start_span())


class _Provider(trace.TracerProvider):
    def get_tracer(self, *args, **kwargs):
        return _Tracer()


def test_a_global_provider_that_is_not_the_sdks_stays_and_only_our_operations_are_stored(caplog):
    theirs = _Provider()
    trace.set_tracer_provider(theirs)
    monitor = configure("metrics.db")
    other = PerformanceMonitor()
    assert trace.get_tracer_provider() is theirs
    assert any("only the monitor's own operations" in message for message in warnings_in(caplog))
    with trace.get_tracer("x").start_as_current_span("theirs"), monitor.monitor("ours"), other.monitor("other"):
        pass
    assert names(monitor.storage) == ["other", "ours"]
    spans = stored(monitor.storage)
    assert spans["other"].parent_span_id == spans["ours"].span_id


# --- called again, wrong, and after the end


def test_called_again_it_returns_the_same_monitor_and_is_silent_when_nothing_differs(caplog):
    arguments = {
        "service_name": "checkout",
        "slow_threshold_ms": 500,
        "retention_seconds": 60,
        "error_rate_threshold": 0.5,
        "resource_attributes": {"a": 1},
    }
    monitor = configure("metrics.db", **arguments)
    assert configure("metrics.db", **arguments) is configure() is get_monitor() is monitor
    assert configure(os.path.abspath("metrics.db"), slow_threshold_ms=500.0) is monitor
    assert warnings_in(caplog) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", "other.db"),
        ("service_name", "other"),
        ("slow_threshold_ms", 1),
        ("retention_seconds", 1),
        ("error_rate_threshold", 0.9),
        ("resource_attributes", {"a": 2}),
        ("metric_readers", [InMemoryMetricReader()]),
        ("durability", "span"),
    ],
)
def test_called_again_with_another_argument_it_warns_which_one_and_changes_nothing(caplog, name, value):
    monitor = configure("metrics.db", slow_threshold_ms=500)
    assert configure(**{name: value}) is monitor
    (message,) = warnings_in(caplog)
    assert name in message
    assert monitor.slow_threshold_ms == 500
    assert monitor.storage.path.endswith("metrics.db")


@pytest.mark.parametrize("argument", [{"slow_threshold_ms": -1}, {"path": ""}, {"error_rate_threshold": 2}])
def test_a_wrong_setting_is_a_config_error_and_leaves_the_process_as_it_was(argument):
    with pytest.raises(ConfigError, match=next(iter(argument))):
        configure(**argument)
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)
    with pytest.raises(StoreError):
        get_monitor().storage  # noqa: B018 - the property raises
    monitor = configure("metrics.db")
    with monitor.monitor("op"):
        pass
    assert names(monitor.storage) == ["op"]


@pytest.mark.parametrize(
    "argument", [{"resource_attributes": 5}, {"metric_readers": 5}, {"metric_readers": [5]}], ids=repr
)
def test_an_argument_of_a_wrong_type_raises_and_a_right_call_after_it_works(argument):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        configure("wrong.db", **argument)
    monitor = configure("metrics.db")
    with monitor.monitor("op"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(monitor.storage) == ["op", "theirs"]
    assert not Path("wrong.db").exists()


def test_shutdown_writes_everything_and_lets_configure_begin_anew_with_another_file():
    first = configure("1.db")
    with first.monitor("first"):
        pass
    first.shutdown()
    with pytest.raises(StoreError):
        first.storage  # noqa: B018 - the property raises
    second = configure("2.db")
    with second.monitor("second"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert names(second.storage) == ["second", "theirs"]
    with MetricsStorage("1.db") as storage:
        assert names(storage) == ["first"]


def test_shutdown_leaves_a_provider_that_was_there_working_and_stores_no_more():
    _, exporter = use_provider()
    monitor = configure("metrics.db")
    with monitor.monitor("before"):
        pass
    monitor.shutdown()
    monitor.shutdown()
    with monitor.monitor("after"), trace.get_tracer("x").start_as_current_span("theirs"):
        pass
    assert exported_names(exporter) == ["after", "before", "theirs"]
    with MetricsStorage("metrics.db") as storage:
        assert names(storage) == ["before"]


def test_shutdown_closes_the_meter_provider_that_it_installed_and_no_other():
    class Reader(InMemoryMetricReader):
        is_shut_down = False

        def shutdown(self, *args, **kwargs) -> None:
            self.is_shut_down = True
            super().shutdown(*args, **kwargs)

    ours = Reader()
    configure("metrics.db", metric_readers=[ours]).shutdown()
    assert ours.is_shut_down


def test_shutdown_before_configure_does_nothing():
    get_monitor().shutdown()
    assert get_monitor().force_flush() is True
    assert os.listdir() == []


def test_an_operation_that_is_open_during_shutdown_passes_through():
    monitor = configure("metrics.db")
    with monitor.monitor("open"):
        monitor.shutdown()
    with MetricsStorage("metrics.db") as storage:
        assert storage.get_stats("open").count in (0, 1)


# --- the monitor of every module


def test_get_monitor_decorates_at_import_time_and_stores_once_configure_has_run():
    monitor = get_monitor()

    @monitor.monitor("function")
    def function():
        return 1

    @monitor.monitor("coroutine")
    async def coroutine():
        return 2

    @monitor.monitor("generator")
    def generator():
        yield 3

    @monitor.monitor("async generator")
    async def async_generator():
        yield 4

    async def collect():
        return [each async for each in async_generator()]

    def call_all() -> list:
        return [function(), asyncio.run(coroutine()), *generator(), *asyncio.run(collect())]

    assert call_all() == [1, 2, 3, 4]
    assert configure("metrics.db") is monitor is get_monitor()
    assert call_all() == [1, 2, 3, 4]
    stats = {each.operation: each.count for each in monitor.storage.get_stats()}
    assert stats == dict.fromkeys(["function", "coroutine", "generator", "async generator"], 1)


def test_what_is_recorded_before_configure_goes_where_opentelemetry_sends_it():
    monitor = get_monitor()
    with monitor.monitor("into nothing") as span:
        assert not span.is_recording()
    _, exporter = use_provider()
    with monitor.monitor("to the user"):
        pass
    configure("metrics.db")
    with monitor.monitor("to both"):
        pass
    assert exported_names(exporter) == ["to both", "to the user"]
    assert names(monitor.storage) == ["to both"]


def test_before_configure_there_is_no_storage_and_the_error_says_what_to_call():
    with pytest.raises(StoreError, match="configure"):
        get_monitor().storage  # noqa: B018 - the property raises


def test_an_operation_open_while_configure_runs_is_no_trouble():
    monitor = get_monitor()
    with monitor.monitor("open"):
        configure("metrics.db")
        with monitor.monitor("inside"):
            pass
    assert names(monitor.storage) == ["inside"]


def test_a_generator_suspended_while_configure_runs_gives_its_later_children_to_the_store():
    monitor = get_monitor()

    @monitor.monitor("gen")
    def generate():
        yield
        with monitor.monitor("inside"):
            yield

    generator = generate()
    next(generator)
    configure("metrics.db")
    assert list(generator) == [None]
    assert names(monitor.storage) == ["inside"]


def test_a_threshold_set_before_configure_holds_after_it_unless_configure_is_given_one():
    monitor = get_monitor()
    monitor.slow_threshold_ms = 5
    configure("metrics.db")
    assert monitor.slow_threshold_ms == 5


def test_a_threshold_given_to_configure_wins_over_one_set_before_it():
    monitor = get_monitor()
    monitor.slow_threshold_ms = 5
    configure("metrics.db", slow_threshold_ms=7)
    assert monitor.slow_threshold_ms == 7


def test_the_threshold_can_be_set_after_configure_and_holds_for_the_spans_of_others_too():
    monitor = configure("metrics.db", slow_threshold_ms=10_000)
    with trace.get_tracer("x").start_as_current_span("before"):
        pass
    monitor.slow_threshold_ms = 0
    with trace.get_tracer("x").start_as_current_span("after"):
        pass
    assert {name: span.is_slow for name, span in stored(monitor.storage).items()} == {"before": False, "after": True}


def test_the_thresholds_come_from_the_environment_when_no_argument_is_given(monkeypatch):
    monkeypatch.setenv("SLOW_REQUEST_THRESHOLD_MS", "250")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "0.25")
    monitor = configure("metrics.db")
    assert (monitor.slow_threshold_ms, monitor.error_rate_threshold) == (250, 0.25)
    assert PerformanceMonitor().slow_threshold_ms == 250


# --- the program goes on


class _Broken(SpanProcessor):
    def on_end(self, span) -> None:
        raise LookupError("on_end")


def test_a_users_processor_that_raises_costs_only_itself():
    provider, exporter = use_provider()
    provider.add_span_processor(_Broken())
    monitor = configure("metrics.db")
    ran = []
    with monitor.monitor("op"):
        ran.append(1)
    assert ran == [1]
    assert names(monitor.storage) == exported_names(exporter) == ["op"]


def test_spans_with_a_resource_of_the_users_keep_it_and_a_service_name_given_in_vain_is_warned_of(caplog):
    use_provider(resource=Resource({"service.name": "theirs"}))
    monitor = configure("metrics.db", service_name="ours")
    with monitor.monitor("op"):
        pass
    assert stored(monitor.storage)["op"].service == "theirs"
    assert any("service_name" in message for message in warnings_in(caplog))


def test_everything_is_in_the_file_when_the_program_ends_without_saying_so(run_python, tmp_path):
    program = """
        import otel_perfmon as o
        from opentelemetry import trace
        m = o.configure("metrics.db")
        for i in range(1000):
            with m.monitor("op"):
                pass
        with trace.get_tracer("x").start_as_current_span("theirs"):
            pass
    """
    run_python(program)
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        assert storage.get_stats("op").count == 1000
        assert len(storage.get_metrics("theirs")) == 1


def test_a_program_that_ends_by_an_exception_keeps_its_stack_trace_in_the_file(run_python, tmp_path):
    program = """
        import otel_perfmon as o
        m = o.configure("metrics.db")
        with m.monitor("op"):
            1 / 0
    """
    run_python(program, check=False)
    with MetricsStorage(tmp_path / "metrics.db") as storage:
        (metric,) = storage.get_metrics("op")
    assert metric["error_type"] == "ZeroDivisionError"
    assert "1 / 0" in metric["stack_trace"] or "<string>" in metric["stack_trace"]


def test_a_handler_that_measures_each_log_record_makes_no_endless_loop():
    monitor = configure("metrics.db")

    class Handler(logging.Handler):
        def emit(self, record) -> None:
            with get_monitor().monitor("log"):
                pass

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        with monitor.monitor("op"):
            monitor.storage.insert_metric("cannot be stored", float("nan"))  # which is logged on this thread
        trace.get_tracer("x").start_span("cannot be read", kind="none").end()  # and on the writer's
        assert monitor.force_flush() is True
    finally:
        logging.getLogger().removeHandler(handler)
    assert monitor.storage.get_stats("log").count >= 1


# --- alerts


def fail(monitor: PerformanceMonitor, operation: str, count: int = 20) -> None:
    """An operation that fails often enough, and the minute tick that notices."""
    for _ in range(count):
        with pytest.raises(ValueError, match="boom"), monitor.monitor(operation):
            raise ValueError("boom")
    monitor.storage.recorder.maintain()


def arrived(alerts: Sequence[Alert], *operations: str) -> bool:
    deadline = time.monotonic() + 5
    while len(alerts) < len(operations) and time.monotonic() < deadline:
        time.sleep(0.005)
    return [alert.operation for alert in alerts] == list(operations)


def test_configure_raises_alarms_by_its_settings_and_hands_them_to_its_callback_until_shutdown(caplog):
    alerts: list[Alert] = []
    monitor = configure(
        "metrics.db", service_name="shop", error_rate_threshold=0.5, error_rate_min_count=3, on_alert=alerts.append
    )
    assert monitor.error_rate_threshold == 0.5
    with monitor.monitor("pay"):
        pass
    fail(monitor, "pay", 1)
    fail(monitor, "charge", 2)
    fail(monitor, "pay", 2)
    assert arrived(alerts, "pay")
    assert (alerts[0].service, alerts[0].is_firing, alerts[0].count, alerts[0].error_count) == ("shop", True, 4, 3)
    assert [message for message in warnings_in(caplog) if "'pay'" in message] == [alerts[0].sentence]
    recorder = monitor.storage.recorder
    monitor.shutdown()
    assert recorder.alarm.callbacks._callbacks == []


def test_after_a_shutdown_configure_takes_another_callback():
    first: list[Alert] = []
    second: list[Alert] = []
    configure("metrics.db", on_alert=first.append).shutdown()
    fail(configure("metrics.db", on_alert=second.append), "pay")
    assert arrived(second, "pay")
    assert first == []


def test_a_monitor_of_its_own_has_its_callback_beside_that_of_configure_until_its_shutdown(db_path):
    ours: list[Alert] = []
    theirs: list[Alert] = []
    configured = configure(db_path, on_alert=ours.append)
    monitor = PerformanceMonitor(on_alert=theirs.append)
    fail(monitor, "pay")
    assert arrived(ours, "pay")
    assert arrived(theirs, "pay")
    monitor.shutdown()
    monitor.shutdown()
    fail(configured, "charge")
    assert arrived(ours, "pay", "charge")
    assert arrived(theirs, "pay")


def test_another_callback_in_a_later_call_of_configure_is_warned_of_and_the_same_is_not(caplog):
    alerts: list[Alert] = []
    configure("metrics.db", on_alert=alerts.append)
    configure("metrics.db", on_alert=alerts.append)
    assert warnings_in(caplog) == []
    configure("metrics.db", on_alert=print)
    (warning,) = warnings_in(caplog)
    assert "on_alert" in warning


def test_a_callback_that_is_none_leaves_nothing_behind():
    for make in (configure, PerformanceMonitor):
        with pytest.raises(ConfigError, match="on_alert must be a function"):
            make(on_alert="print")
    assert os.listdir() == []
    assert trace.get_tracer_provider().__class__.__name__ == "ProxyTracerProvider"


def test_every_door_has_the_alarm_of_the_settings(monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_THRESHOLD", "0.25")
    monkeypatch.setenv("OTEL_PYTHON_PERFMON_ERROR_RATE_MIN_COUNT", "5")
    for number, door in enumerate((MetricsStorage, SQLiteSpanExporter, SQLiteMetricExporter)):
        opened = door(f"{number}.db")
        assert opened._recorder.alarm.rule == AlertRule(0.25, 5)
        (opened.close if isinstance(opened, MetricsStorage) else opened.shutdown)()
