"""The doors that need no code, each in a real process on a real Flask app under its instrumentation."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from shop_kit import NO_OTHER_SIGNALS, PRINTED, SEEN, SHOP, SLOW, collector, run, seen, stored

from otel_perfmon import open_store
from otel_perfmon.config import SETTINGS

OTLP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **NO_OTHER_SIGNALS}
CONFIGURATION = """
file_format: "1.0"
resource: {attributes: [{name: service.name, value: shop}]}
propagator: {composite: [{tracecontext: }, {baggage: }]}
tracer_provider:
  processors:
    - batch:
        exporter:
          sqlite: {path: declared.db, slow_threshold_ms: 300, redact_keys: [badge], retention_seconds: 7200, %s}
  sampler: {perfmon: }
  id_generator: {perfmon: }
"""


@pytest.fixture(autouse=True)
def _shop() -> None:
    Path("app.py").write_text(SHOP)


def run_shop(*words: str, **environment: str) -> str:
    """Run the shop; gives what it wrote on standard error."""
    result = run([*words, "python", "app.py"], **environment)
    assert (result.returncode, result.stdout.splitlines()) == (0, PRINTED), result.stderr
    return result.stderr


def test_nobody_finds_a_distro_or_a_configurator_of_ours():
    for group in ("opentelemetry_distro", "opentelemetry_configurator"):
        assert [entry for entry in entry_points(group=group) if entry.value.startswith("otel_perfmon")] == []


def test_opentelemetry_instrument_exports_to_the_file_and_to_a_collector():
    with collector() as (address, names):
        variables = {"OTEL_TRACES_EXPORTER": "sqlite,otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        run_shop("opentelemetry-instrument", **variables, **SLOW, **OTLP)
    assert seen() == SEEN
    assert names == [name for name, _, _ in SEEN]


@pytest.mark.faults
def test_each_setting_is_a_flag_of_opentelemetry_instrument():
    told = run(["opentelemetry-instrument", "--help"]).stdout
    flags = {"--" + setting.prefixed_variable.removeprefix("OTEL_PYTHON_").lower() for setting in SETTINGS}
    assert flags <= set(told.split())
    run_shop(
        *("opentelemetry-instrument", "--traces_exporter", "sqlite", "--perfmon_path", "flags.db"),
        *("--perfmon_slow_threshold_ms", "300", "--service_name", "shop"),
        **NO_OTHER_SIGNALS,
    )
    assert seen("flags.db") == SEEN
    assert {span.service for span in stored("flags.db")} == {"shop"}


@pytest.mark.parametrize("path", ["metrics.db", pytest.param("other.db", marks=pytest.mark.faults)])
def test_configure_in_the_code_beside_the_exporter_stores_each_span_once_in_each_file(path):
    Path("app.py").write_text(f"import otel_perfmon\notel_perfmon.configure({path!r})\n{SHOP}")
    told = run_shop("opentelemetry-instrument", OTEL_TRACES_EXPORTER="sqlite", **SLOW, **NO_OTHER_SIGNALS)
    assert seen(path) == seen("metrics.db") == SEEN
    assert "otel_perfmon" not in told.replace("site-packages/otel_perfmon", "")


@pytest.mark.faults
@pytest.mark.parametrize(("share", "sent"), [("0", []), ("1", [name for name, _, _ in SEEN])])
def test_with_our_sampler_configure_stores_everything_and_a_share_of_it_is_sent(share, sent):
    Path("app.py").write_text(f"import otel_perfmon\notel_perfmon.configure()\n{SHOP}")
    with collector() as (address, names):
        variables = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        sampler = {"OTEL_TRACES_SAMPLER": "perfmon", "OTEL_TRACES_SAMPLER_ARG": share}
        run_shop("opentelemetry-instrument", **variables, **sampler, **SLOW, **OTLP)
    assert (seen(), names) == (SEEN, sent)


def test_a_tracer_provider_of_ours_is_made_when_the_programs_instrumentation_asks_for_one():
    lines = "from opentelemetry.instrumentation.flask import FlaskInstrumentor\nFlaskInstrumentor().instrument()\n"
    Path("app.py").write_text(lines + SHOP)
    run_shop(OTEL_PYTHON_TRACER_PROVIDER="perfmon", OTEL_PYTHON_METER_PROVIDER="perfmon", **SLOW)
    assert seen() == SEEN


def test_a_program_that_sets_a_meter_provider_of_its_own_keeps_its_pipeline(run_python):
    printed = run_python(
        """
        import os
        os.environ["OTEL_PYTHON_METER_PROVIDER"] = "perfmon"
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        early = metrics.get_meter("library").create_counter("requests")  # as instrumentation does, before the program
        ours, reader = metrics.get_meter_provider(), InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        metrics.get_meter("program").create_counter("orders").add(1)
        early.add(1)
        found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        ours.force_flush()
        metrics.set_meter_provider(MeterProvider())
        print([each.name for each in found], metrics.get_meter_provider() is not ours)
        """
    )
    assert printed == "['orders'] True\n"
    assert [point.instrument for point in open_store("metrics.db").find_points()] == ["requests"]


def test_a_configuration_file_leads_to_the_exporter_with_its_arguments():
    Path("otel.yaml").write_text(CONFIGURATION % "nonsense: {a: 1}")
    told = run_shop("opentelemetry-instrument", OTEL_CONFIG_FILE="otel.yaml")
    assert "The exporter knows no argument 'nonsense'; it is ignored." in told
    assert seen("declared.db") == SEEN
    assert {span.service for span in stored("declared.db")} == {"shop"}
    assert not os.path.exists("metrics.db")


@pytest.mark.faults
def test_a_configuration_file_with_wrong_arguments_stores_by_the_defaults():
    Path("otel.yaml").write_text(CONFIGURATION.replace("300", "soon").replace("7200", "[1]") % "sample_rate: 3")
    run_shop("opentelemetry-instrument", OTEL_CONFIG_FILE="otel.yaml")
    assert seen("declared.db") == [(name, False, is_error) for name, _, is_error in SEEN]


@pytest.mark.faults
@pytest.mark.parametrize("switch", ["OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"])
def test_opentelemetrys_own_switches_turn_each_door_off(switch):
    value = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "always_off"}[switch]
    exporter = {"OTEL_TRACES_EXPORTER": "sqlite", **NO_OTHER_SIGNALS}
    run_shop("opentelemetry-instrument", **{switch: value}, **exporter)
    run_shop("otel-perfmon", "run", "--", **{switch: value})
    assert os.listdir() == ["app.py"]
