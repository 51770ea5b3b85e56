"""OTEL_PYTHON_TRACER_PROVIDER=perfmon: programs that hold no line of ours are stored."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

import pytest

from otel_perfmon import SpanQuery, open_store
from otel_perfmon.application import provide_tracer_provider

PERFMON = {"OTEL_PYTHON_TRACER_PROVIDER": "perfmon", "OTEL_PYTHON_PERFMON_PATH": "spans.db"}
NO_CODE_OF_OURS = """
    from opentelemetry import trace
    tracer = trace.get_tracer("library", "1.0")
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
        pass
"""
COUNT_PROCESSORS = """
    from opentelemetry import trace
    from otel_perfmon.sdk.processor import StoreSpanProcessor
    processors = trace.get_tracer_provider()._active_span_processor._span_processors
    print([type(each) is StoreSpanProcessor for each in processors])
"""


def stored(path="spans.db") -> list[tuple[str, str]]:
    """Name and service of each stored span."""
    with open_store(path) as store:
        return sorted((span.name, span.service) for span in store.find_spans(SpanQuery(limit=1_000)))


def test_the_entry_point_leads_to_our_provider():
    (found,) = entry_points(group="opentelemetry_tracer_provider", name="perfmon")
    assert found.load() is provide_tracer_provider


def test_a_program_without_any_code_of_ours_stores_its_spans(run_python):
    run_python(NO_CODE_OF_OURS, OTEL_SERVICE_NAME="shop", **PERFMON)
    assert stored() == [("inner", "shop"), ("outer", "shop")]
    with open_store("spans.db") as store:
        inner, outer = store.find_spans(SpanQuery(order="oldest"))
        assert (inner.parent_span_id, inner.scope.name) == (outer.span_id, "library")
        assert store.get_health().ended == 2


def test_without_a_path_the_spans_are_in_metrics_db(run_python):
    run_python(NO_CODE_OF_OURS, OTEL_PYTHON_TRACER_PROVIDER="perfmon")
    assert len(stored("metrics.db")) == 2


def test_a_provider_that_nobody_asks_for_makes_no_file(run_python):
    run_python("import opentelemetry.trace", **PERFMON)
    assert os.listdir() == []


@pytest.mark.parametrize(
    "opening",
    [
        "from opentelemetry.trace import get_tracer; tracer = get_tracer('at import')",
        "from opentelemetry import trace; tracer = trace.get_tracer_provider().get_tracer('at import')",
        "import otel_perfmon as o, opentelemetry.trace as t; o.get_monitor(); tracer = t.get_tracer('at import')",
    ],
    ids=["get_tracer", "get_tracer_provider", "get_monitor"],
)
def test_a_tracer_got_at_import_is_ours(run_python, opening):
    printed = run_python(
        f"""
        {opening}
        def work():
            with tracer.start_as_current_span("op"):
                pass
        work()
        print(type(tracer).__module__)
        """,
        **PERFMON,
    )
    assert (printed, [name for name, _ in stored()]) == ("otel_perfmon.sdk.tracer\n", ["op"])


def test_configure_before_anything_else_has_one_processor_and_its_service_name_holds(run_python):
    printed = run_python(
        "    import otel_perfmon\n"
        "    monitor = otel_perfmon.configure(service_name='x')\n"
        + NO_CODE_OF_OURS
        + "    with monitor.monitor('ours'): pass\n"
        + COUNT_PROCESSORS,
        OTEL_SERVICE_NAME="from the environment",
        **PERFMON,
    )
    assert printed == "[True]\n"
    assert stored() == [("inner", "x"), ("ours", "x"), ("outer", "x")]


def test_configure_after_a_tracer_was_got_has_one_processor_and_warns_that_the_first_settings_hold(run_python):
    printed = run_python(
        NO_CODE_OF_OURS
        + """
    import logging, otel_perfmon
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("otel_perfmon").addHandler(handler)
    monitor = otel_perfmon.configure(service_name='x', path='other.db')
    with monitor.monitor('ours'): pass
    print(["service_name" in each for each in messages], ["path" in each for each in messages])
"""
        + COUNT_PROCESSORS,
        OTEL_SERVICE_NAME="shop",
        **PERFMON,
    )
    assert printed == "[False, True] [True, False]\n[True]\n"
    assert stored() == [("inner", "shop"), ("ours", "shop"), ("outer", "shop")]
    assert not os.path.exists("other.db")


def test_configure_afterwards_with_nothing_or_the_same_says_nothing_and_gives_the_monitor(run_python):
    printed = run_python(
        NO_CODE_OF_OURS
        + """
    import logging, otel_perfmon
    logging.basicConfig(format="%(message)s", handlers=[logging.StreamHandler(__import__("sys").stdout)])
    monitor = otel_perfmon.configure("spans.db")
    with monitor.monitor("ours"): pass
    print(monitor is otel_perfmon.get_monitor(), monitor.storage.get_stats("outer").count)
""",
        **PERFMON,
    )
    assert printed == "True 1\n"
    assert [name for name, _ in stored()] == ["inner", "ours", "outer"]


def test_a_monitor_of_ones_own_uses_the_provider_and_stores_each_span_once(run_python):
    run_python(
        NO_CODE_OF_OURS
        + """
    from otel_perfmon import MetricsStorage, PerformanceMonitor
    monitor = PerformanceMonitor()
    with tracer.start_as_current_span("around"), monitor.monitor("ours"): pass
    monitor.shutdown()
""",
        **PERFMON,
    )
    assert [name for name, _ in stored()] == ["around", "inner", "ours", "outer"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SLOW_THRESHOLD_MS", "soon"), ("SAMPLE_RATES", "checkout=2"), ("DURABILITY", "always"), ("SIZE_MAX_BYTES", "1")],
)
def test_a_wrong_setting_in_the_environment_is_logged_and_does_not_stop_the_program(run_python, variable, value):
    printed = run_python(
        """
    import logging, sys
    logging.basicConfig(format="%(message)s", handlers=[logging.StreamHandler(sys.stdout)])
"""
        + NO_CODE_OF_OURS
        + "    print('done')\n",
        **{f"OTEL_PYTHON_PERFMON_{variable}": value},
        **PERFMON,
    )
    warning, done = printed.splitlines()
    assert f"OTEL_PYTHON_PERFMON_{variable} is {value!r}" in warning
    assert (done, len(stored())) == ("done", 2)


def test_the_environments_other_settings_hold(run_python):
    settings = {"OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "0", "OTEL_TRACES_SAMPLER": "traceidratio"}
    run_python(NO_CODE_OF_OURS, **settings, OTEL_TRACES_SAMPLER_ARG="0", **PERFMON)
    with open_store("spans.db") as store:
        assert [(span.is_slow, span.flags & 1) for span in store.find_spans(SpanQuery())] == [(True, 0)] * 2


def test_a_path_that_cannot_be_written_does_not_stop_the_program(run_python, tmp_path):
    (tmp_path / "file").write_text("")
    printed = run_python(
        NO_CODE_OF_OURS + "    print('done')\n", **(PERFMON | {"OTEL_PYTHON_PERFMON_PATH": "file/spans.db"})
    )
    assert printed == "done\n"


@pytest.mark.parametrize(
    "switch", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_SAMPLER": "always_off"}], ids=["disabled", "always_off"]
)
def test_opentelemetrys_own_switches_turn_it_off(run_python, switch):
    run_python(NO_CODE_OF_OURS, **switch, **PERFMON)
    assert os.listdir() == []


def test_threads_that_ask_for_a_tracer_at_once_get_one_provider(run_python):
    printed = run_python(
        """
    import threading
    from opentelemetry import trace
    barrier, tracers = threading.Barrier(8), []
    def work():
        barrier.wait()
        with trace.get_tracer("library").start_as_current_span("op"):
            pass
    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads: each.start()
    for each in threads: each.join()
"""
        + COUNT_PROCESSORS,
        **PERFMON,
    )
    assert (printed, len(stored())) == ("[True]\n", 8)
