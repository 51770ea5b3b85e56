"""What each door does about the sampler, the resource, durability, the environment's trace, and the SDK's switch.

The README has it as a table.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from shop_kit import NO_OTHER_SIGNALS, run, stored

from otel_perfmon import SpanRecord

pytestmark = pytest.mark.faults

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROGRAM = """
import os, sys, time
from opentelemetry import trace
tracer = trace.get_tracer("library")
with tracer.start_as_current_span("op"):
    time.sleep(float(sys.argv[1]))
sys.stdout.flush()
if sys.argv[2] == "killed":
    os._exit(0)
"""
CONFIGURED = "import otel_perfmon\notel_perfmon.configure()\n"
FILE = """
file_format: "1.0"
resource: {attributes: [{name: service.name, value: shop}]}
tracer_provider:
  processors:
    - batch: {exporter: {sqlite: }}
"""
INSTRUMENT = ["opentelemetry-instrument"]
DOORS = {
    "run": (["otel-perfmon", "run", "--"], {}),
    "configure": ([], {}),
    "provider": ([], {"OTEL_PYTHON_TRACER_PROVIDER": "perfmon"}),
    "exporter": (INSTRUMENT, {"OTEL_TRACES_EXPORTER": "sqlite", **NO_OTHER_SIGNALS}),
    "file": (INSTRUMENT, {"OTEL_CONFIG_FILE": "otel.yaml"}),
}
OURS = {"run", "configure", "provider"}
"""The doors behind which a provider of ours is."""


EVERYTHING = {
    "TRACEPARENT": PARENT,
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_RESOURCE_ATTRIBUTES": "team=a",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
    "OTEL_PYTHON_PERFMON_SLOW_THRESHOLD_MS": "100",
}


@pytest.fixture(params=DOORS, scope="module")
def door(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def span(door: str, tmp_path_factory: pytest.TempPathFactory) -> SpanRecord:
    """The one that is stored when the environment says something of everything, and the span is slow."""
    (stored,) = go_through(door, tmp_path_factory.mktemp(door), seconds=0.5, **EVERYTHING)
    return stored


def go_through(door: str, folder: Path, *, seconds: float = 0, end: str = "", **environment: str) -> list[SpanRecord]:
    """Run the program through a door; gives what is stored of it."""
    words, variables = DOORS[door]
    (folder / "app.py").write_text((CONFIGURED if door == "configure" else "") + PROGRAM)
    (folder / "otel.yaml").write_text(FILE)
    result = run([*words, "python", "app.py", str(seconds), end], cwd=str(folder), **variables, **environment)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    path = folder / "metrics.db"
    return stored(str(path)) if path.exists() else []


def test_the_resource_is_the_environments_or_the_files_and_so_are_its_detectors(door, span):
    assert span.service == "shop"
    attributes = span.resource.attributes
    assert ("process.pid" in attributes, attributes.get("team") == "a") == (door != "file", door != "file")


def test_the_trace_that_the_environment_carries_is_continued_behind_a_provider_of_ours(door, span):
    assert (span.parent_span_id == PARENT.split("-")[2]) is (door in OURS)


def test_slow_is_what_took_longer_than_the_threshold_and_its_stack_is_taken_behind_a_provider_of_ours(door, span):
    assert span.is_slow
    assert [event.name for event in span.events] == (["perfmon.stack"] if door in OURS else [])


def test_a_trace_that_is_not_sampled_is_stored_behind_a_provider_of_ours_and_not_behind_the_sdks(door, tmp_path):
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    flags = [span.flags & 1 for span in go_through(door, tmp_path, **sampler)]
    assert flags == {"exporter": [], "file": [1]}.get(door, [0])  # in the file stands no sampler


def test_a_span_outlives_its_process_by_the_durability_where_the_exporter_has_none(door, tmp_path):
    spans = go_through(door, tmp_path, end="killed", OTEL_PYTHON_PERFMON_DURABILITY="root")
    assert len(spans) == (door in OURS)


def test_the_sdk_disabled_is_nothing_stored(door, tmp_path):
    assert go_through(door, tmp_path, OTEL_SDK_DISABLED="true") == []
