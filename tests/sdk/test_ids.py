"""Ids in time order, and unlike under any seed and after any fork."""

from __future__ import annotations

import json
import random
import threading
import time

from opentelemetry.sdk.trace import TracerProvider

from otel_perfmon import TimeOrderedIdGenerator


def test_a_trace_id_begins_with_its_milliseconds_since_1970(monkeypatch):
    generator = TimeOrderedIdGenerator()
    for moment in (0, 1, 1_790_000_000_123, 2**48 - 1):
        monkeypatch.setattr(time, "time_ns", lambda: moment * 10**6 + 999_999)  # noqa: B023 - called before it changes
        assert generator.generate_trace_id() >> 80 == moment


def test_trace_ids_of_later_milliseconds_are_larger(monkeypatch):
    generator = TimeOrderedIdGenerator()
    ids = []
    for moment in range(1_790_000_000_000, 1_790_000_000_200):
        monkeypatch.setattr(time, "time_ns", lambda: moment * 10**6)  # noqa: B023 - called before it changes
        ids.append(generator.generate_trace_id())
    assert ids == sorted(set(ids))


def test_ids_fit_their_width_and_are_never_0(monkeypatch):
    generator = TimeOrderedIdGenerator()
    for _ in range(1000):
        assert 0 < generator.generate_trace_id() < 2**128
        assert 0 < generator.generate_span_id() < 2**64
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(generator._random, "getrandbits", lambda bits: 0)
    assert generator.generate_trace_id() > 0
    assert generator.generate_span_id() > 0


def test_ids_fit_their_width_also_long_after_the_year_10000(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 2**63 - 1 + 10**24)
    assert TimeOrderedIdGenerator().generate_trace_id() < 2**128


def test_a_hundred_thousand_ids_are_all_different():
    generator = TimeOrderedIdGenerator()
    assert len({generator.generate_span_id() for _ in range(100_000)}) == 100_000
    assert len({generator.generate_trace_id() for _ in range(100_000)}) == 100_000


def test_ids_do_not_repeat_with_the_programs_random_seed():
    ids = []
    for _ in range(2):
        random.seed(0)
        generator = TimeOrderedIdGenerator()
        ids.append((generator.generate_trace_id() & (1 << 80) - 1, generator.generate_span_id()))
    assert ids[0][0] != ids[1][0]
    assert ids[0][1] != ids[1][1]


def test_making_ids_does_not_move_the_programs_own_random_numbers():
    random.seed(0)
    expected = random.random()
    random.seed(0)
    generator = TimeOrderedIdGenerator()
    generator.generate_trace_id()
    generator.generate_span_id()
    assert random.random() == expected


def test_the_last_56_bits_are_random_and_the_generator_says_so():
    generator = TimeOrderedIdGenerator()
    assert generator.is_trace_id_random() is True
    seen_one = seen_zero = 0
    for _ in range(200):
        bits = generator.generate_trace_id() & (1 << 56) - 1
        seen_one |= bits
        seen_zero |= ~bits & (1 << 56) - 1
    assert seen_one == seen_zero == (1 << 56) - 1


def test_spans_of_such_a_generator_bear_the_random_flag():
    provider = TracerProvider(id_generator=TimeOrderedIdGenerator(), shutdown_on_exit=False)
    context = provider.get_tracer("t").start_span("op").get_span_context()
    assert context.trace_flags.random_trace_id


def test_ids_of_many_threads_are_all_different():
    generator = TimeOrderedIdGenerator()
    ids: list[int] = []
    threads = [
        threading.Thread(target=lambda: ids.extend(generator.generate_span_id() for _ in range(5000))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 40_000


def test_forked_children_make_ids_of_their_own(run_python):
    printed = run_python("""
        import json, os, sys, time
        from otel_perfmon import TimeOrderedIdGenerator
        time.time_ns = lambda: 10**18
        generator = TimeOrderedIdGenerator()
        generator.generate_span_id()
        for child in range(4):
            if os.fork() == 0:
                print(json.dumps([generator.generate_trace_id(), generator.generate_span_id()]), flush=True)
                os._exit(0)
            os.wait()
        print(json.dumps([generator.generate_trace_id(), generator.generate_span_id()]), flush=True)
    """)
    ids = [number for line in printed.splitlines() for number in json.loads(line)]
    assert len(ids) == len(set(ids)) == 10


def test_a_generator_that_nobody_holds_is_forgotten(run_python):
    printed = run_python("""
        import gc, random
        from otel_perfmon import TimeOrderedIdGenerator
        for _ in range(200):
            TimeOrderedIdGenerator().generate_span_id()
        gc.collect()
        print(sum(type(each) is random.Random for each in gc.get_objects()))
    """)
    assert int(printed) < 50
