"""Threads, signals, finalisers and forks in the midst of recording and of handing over."""

from __future__ import annotations

import itertools
import os
import signal
import threading

import pytest
from histogram_kit import NAME, SHARED, context_of, count_in, figures_of, measurements, ours_on, provider_of, reader_of
from opentelemetry.sdk.metrics import AlignedHistogramBucketExemplarReservoir
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import View

from otel_perfmon.sdk import gathering


def test_threads_that_record_while_others_collect_lose_nothing_and_double_nothing(monkeypatch):
    monkeypatch.setattr(gathering, "GATHERED_MAX", 64)
    readers = [reader_of(AggregationTemporality.DELTA), reader_of(AggregationTemporality.CUMULATIVE)]
    histogram = ours_on(provider_of(*readers))
    counts = [0, 0]
    is_over = threading.Event()

    def record():
        for step in measurements(3_000):
            histogram.record(*step)

    def collect():
        while not is_over.is_set():
            counts[0] += count_in(readers[0].get_metrics_data())
            counts[1] = count_in(readers[1].get_metrics_data())

    threads = [threading.Thread(target=record) for _ in range(8)]
    collector = threading.Thread(target=collect)
    for thread in [collector, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    is_over.set()
    collector.join()
    counts[0] += count_in(readers[0].get_metrics_data())
    counts[1] = count_in(readers[1].get_metrics_data())
    assert counts == [24_000, 24_000]


class Meddling(AlignedHistogramBucketExemplarReservoir):
    """Records while it is offered to and collected, as a signal handler or a finaliser does at that moment."""

    meddle = None

    def offer(self, value, time_unix_nano, attributes, context):
        super().offer(value, time_unix_nano, attributes, context)
        Meddling.meddle()

    def collect(self, point_attributes):
        Meddling.meddle()
        return super().collect(point_attributes)


def test_who_records_in_the_midst_of_a_hand_over_or_a_collection_does_not_wait_for_itself(monkeypatch):
    monkeypatch.setattr(gathering, "GATHERED_MAX", 1)
    reader = reader_of()
    view = View(instrument_name=NAME, exemplar_reservoir_factory=lambda _: Meddling)
    histogram = ours_on(provider_of(reader, views=[view]))
    recorded_count = itertools.count()
    is_meddling = []

    def meddle():
        if not is_meddling:
            is_meddling.append(True)
            next(recorded_count)
            histogram.record(5, SHARED, context_of(1), 5)
            is_meddling.clear()

    monkeypatch.setattr(Meddling, "meddle", staticmethod(meddle))

    def run():
        for _ in range(10):
            next(recorded_count)
            histogram.record(5, SHARED, context_of(1), 5)
        reader.get_metrics_data()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    monkeypatch.setattr(Meddling, "meddle", staticmethod(lambda: None))
    assert count_in(reader.get_metrics_data()) == next(recorded_count)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
def test_a_signal_handler_that_records_while_its_thread_hands_over_is_counted_and_does_not_hang(run_python):
    program = """
        import signal, time
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk import gathering
        from otel_perfmon.sdk.histogram import DurationHistogram

        gathering.GATHERED_MAX = 16
        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))
        attributes, context, recorded = {"perfmon.operation": "op"}, Context(), [0, 0]

        def handle(*_):
            for _ in range(20):
                recorded[1] += 1
                histogram.record(2_000_000, attributes, context, 5)

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            recorded[0] += 1
            histogram.record(5_000, {"perfmon.operation": str(recorded[0] % 7)}, context, 5)
            if recorded[0] % 500 == 0:
                reader.get_metrics_data()
        signal.setitimer(signal.ITIMER_REAL, 0)
        data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data
        print(sum(point.count for point in data.data_points) == sum(recorded), recorded[1] > 100)
    """
    assert run_python(program, timeout=30).split() == ["True", "True"]


def test_an_interrupt_from_the_keyboard_in_a_hand_over_loses_at_most_what_was_just_being_added(monkeypatch):
    reader = reader_of()
    histogram = ours_on(provider_of(reader))
    for step in measurements(200):
        histogram.record(*step)
    stock, calls = gathering.Portion.hand_over, itertools.count()

    def interrupted(self):
        if next(calls) == 2:
            raise KeyboardInterrupt
        stock(self)

    monkeypatch.setattr(gathering.Portion, "hand_over", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.get_metrics_data()
    (point_count,) = (len(figures[5]) for figures in figures_of(reader.get_metrics_data()))
    assert point_count >= 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_is_gathered_at_a_fork_is_handed_over_by_the_parent_only(run_python):
    program = """
        import os
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk.histogram import DurationHistogram

        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))

        def collect(who):
            data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data
            print(who, {point.attributes["k"]: point.count for point in data.data_points}, flush=True)

        def record(name):
            histogram.record(5, {"k": name}, Context(), 5)

        record("before")
        collect("parent")
        record("gathered")
        child = os.fork()
        if child == 0:
            record("in child")
            collect("child")
            os._exit(0)
        os.waitpid(child, 0)
        collect("parent")
    """
    assert run_python(program).splitlines() == [
        "parent {'before': 1}",
        "child {'before': 1, 'in child': 1}",
        "parent {'before': 1, 'gathered': 1}",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_of_a_fork_beside_threads_that_hand_over_does_not_hang(run_python):
    program = """
        import os, signal, threading, time
        from opentelemetry.context import Context
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_perfmon.sdk import gathering
        from otel_perfmon.sdk.histogram import DurationHistogram

        gathering.GATHERED_MAX = 8
        reader = InMemoryMetricReader()
        histogram = DurationHistogram("h", "s", "", (0.001, 0.01), MeterProvider([reader], shutdown_on_exit=False))
        attributes, context, is_over = {"perfmon.operation": "op"}, Context(), threading.Event()

        def work():
            while not is_over.is_set():
                histogram.record(5_000, attributes, context, 5)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(30):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                for _ in range(100):
                    histogram.record(5_000, attributes, context, 5)
                reader.collect()
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        is_over.set()
        print(set(codes))
    """
    assert run_python(program, timeout=60).strip() == "{0}"
