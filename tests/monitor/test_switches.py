"""OpenTelemetry's own switches turn an operation off without a trace of it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("fresh_process")


@pytest.mark.parametrize(
    "variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_SAMPLER": "always_off"}], ids=["disabled", "sampler"]
)
@pytest.mark.parametrize(
    "opening", ["o.PerformanceMonitor()", "o.configure('metrics.db')"], ids=["alone", "configured"]
)
def test_opentelemetrys_own_switches_leave_no_file_and_a_working_program(run_python, variables, opening):
    program = f"""
        import os
        import otel_perfmon as o
        m = {opening}
        @m.monitor("gen")
        def gen():
            yield 1
        with m.monitor("op", attributes={{"a": 1}}) as span:
            span.set_attribute("b", 2)
            print(list(gen()))
        try:
            with m.monitor("failing"):
                raise ValueError("x")
        except ValueError:
            print("passed")
        print(m.storage.get_metrics(), m.storage.get_stats("op").count, m.force_flush())
        m.shutdown()
        print(os.listdir())
    """
    assert run_python(program, **variables).splitlines() == ["[1]", "passed", "[] 0 True", "[]"]
