"""Programs that attack the limits at full speed, and who watches their file and their memory meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

MIB = 1 << 20

BEGIN = """
import random, sys, time
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import Status, StatusCode
from otel_perfmon import configure
from otel_perfmon.sdk.processor import StoreSpanProcessor, doors_of
from otel_perfmon.storage.base import RetentionPolicy
seconds, limit = float(sys.argv[1]), int(sys.argv[2])
monitor = configure("metrics.db", slow_threshold_ms=60_000, error_rate_threshold=1)
provider, recorder = trace.get_tracer_provider(), monitor.storage.recorder
recorder.set_retention(RetentionPolicy(size_max_bytes=limit))
tracer = trace.get_tracer("attack")
(door,) = doors_of(provider)
chance = random.Random(0)
padding = {"padding": "x" * 2_000}
count, end = 0, time.monotonic() + seconds

def is_on():
    global count
    count += 1
    return time.monotonic() < end

def provider_of(attributes, **options):
    made = TracerProvider(resource=Resource(attributes), shutdown_on_exit=False, **options)
    made.add_span_processor(StoreSpanProcessor(door))
    return made
"""
END = """
monitor.force_flush(60_000)
health = monitor.storage.store.get_health()
print(count, health.ended, health.counted, health.altered, sum(health.dropped.values()))
monitor.storage.cleanup(0)
recorder.prune(RetentionPolicy(0, 0, limit))  # metric points as well
monitor.shutdown()
"""
TEXT_OF_ITS_OWN = """
while is_on():
    with monitor.monitor("{name}") as span:
        span.set_attribute("text", str(count) + {text})
"""
ATTACKS = {
    "names with ids in them": """
while is_on():
    with monitor.monitor(f"GET /user/{count}", attributes=padding):
        pass
""",
    "one giant trace": """
with tracer.start_as_current_span("root"):
    while is_on():
        with tracer.start_as_current_span(f"child {count}", attributes=padding):
            pass
""",
    "attributes of a megabyte": TEXT_OF_ITS_OWN.format(name="large", text='"x" * 1_000_000'),
    "attributes of 64 megabytes": TEXT_OF_ITS_OWN.format(name="huge", text='"x" * 64_000_000'),
    "texts of four bytes a character": TEXT_OF_ITS_OWN.format(name="emoji", text=r'"\U0001f600" * 60_000'),
    "status texts": """
while is_on():
    with tracer.start_as_current_span("status") as span:
        span.set_status(Status(StatusCode.ERROR, str(count) + "\\U0001f600" * 60_000))
""",
    "100,000 attributes and events": """
limits = SpanLimits(max_span_attributes=1_000_000, max_events=1_000_000)
many = provider_of({}, span_limits=limits).get_tracer("many")
while is_on():
    with many.start_as_current_span("many") as span:
        for number in range(100_000):
            span.set_attribute(f"key {number}", number)
            span.add_event("event", {"number": number})
""",
    "attributes 10,000 deep": """
deep = ["bottom"]
for _ in range(10_000):
    deep = [deep]
while is_on():
    holder = []
    holder += [holder] * 10
    monitor.storage.insert_metric("deep", 1.0, context={"deep": deep, "number": count, "itself": holder})
""",
    "an error of its own each time": """
while is_on():
    try:
        with monitor.monitor(f"operation {count % 3_000}"):
            raise ValueError("".join(chance.choices("abcdefgh ", k=2_000)))
    except ValueError:
        pass
""",
    "a resource for each span": """
while is_on():
    made = provider_of({"service.name": "shop", "service.instance.id": f"{count:036}", "text": "x" * 500})
    with made.get_tracer("attack").start_as_current_span("operation", attributes=padding):
        pass
""",
    "a service for each span": """
while is_on():
    made = provider_of({"service.name": f"service {count}"})
    with made.get_tracer("attack").start_as_current_span("operation", attributes=padding):
        pass
""",
    "a scope for each span": """
while is_on():
    with provider.get_tracer(f"scope {count}" + "x" * 500).start_as_current_span("operation", attributes=padding):
        pass
""",
    "everything calls everything": """
names = [f"operation {number}" for number in range(1_900)]
while is_on():
    with tracer.start_as_current_span(chance.choice(names)):
        for _ in range(30):
            with tracer.start_as_current_span(chance.choice(names), attributes=padding):
                pass
""",
    "operations in every cell of three months": """
begin, cell = time.time_ns() - 90 * 86_400 * 10**9, 10 * 10**9
while is_on():
    moment = begin + (count // 1_900) * cell * 97
    tracer.start_span(f"operation {count % 1_900}", start_time=moment, attributes=padding).end(moment + 5)
""",
    "trace ids in no order": """
unordered = provider_of({}).get_tracer("attack")
while is_on():
    with unordered.start_as_current_span("operation", attributes=padding):
        pass
""",
    "instruments and attribute sets": """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from otel_perfmon import SQLiteMetricExporter
while is_on():
    reader = PeriodicExportingMetricReader(SQLiteMetricExporter("metrics.db"), export_interval_millis=1e9)
    meters = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    for number in range(300):
        counter = meters.get_meter("attack").create_counter(f"counter_{count}_{number}", description="x" * 300)
        for each in range(10):
            counter.add(1, {"key": chance.randrange(10**9), "text": "x" * 300})
    meters.shutdown()
""",
}


@dataclass
class Watched:
    """What was seen of a process: the largest file with its log, the last, and its memory twice a second."""

    peak_bytes: int = 0
    last_bytes: int = 0
    memory_mib: list[float] = field(default_factory=list)
    descriptor_counts: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The most memory of the last third beside that of the third before."""
        return growth(self.memory_mib)


def growth(values: Sequence[float]) -> float:
    """The most of the last third beside that of the third before."""
    third = len(values) // 3
    if not third:
        return 1.0
    return max(values[-third:]) / max(values[-2 * third : -third])


def watch(process: subprocess.Popen[str], path: str, timeout_seconds: float) -> Watched:
    """Look at the file as often as can be, until the process has ended."""
    seen, next_look = Watched(), 0.0
    deadline = time.monotonic() + timeout_seconds
    while process.poll() is None:
        assert time.monotonic() < deadline, "the attack does not end"
        seen.last_bytes = size_bytes(path) + size_bytes(path + "-wal")
        seen.peak_bytes = max(seen.peak_bytes, seen.last_bytes)
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 0.25
            look_at_process(process.pid, seen)
        time.sleep(0.002)
    seen.last_bytes = size_bytes(path) + size_bytes(path + "-wal")
    return seen


def look_at_process(pid: int, seen: Watched) -> None:
    """Note its memory and its file descriptors, where the system tells."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        descriptor_count = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return
    seen.memory_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / MIB)
    seen.descriptor_counts.append(descriptor_count)


def size_bytes(path: str) -> int:
    """The size of a file; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
