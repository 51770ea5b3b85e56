"""The sampler ``perfmon``: all is recorded, a share of it sampled; and samplers of other packages."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, AlwaysRecordSampler, Decision, ParentBased, TraceIdRatioBased

from otel_perfmon import configure
from otel_perfmon.sdk.sampler import make_sampler, sampler_of_environment


def test_both_groups_of_samplers_lead_to_it():
    for group in ("opentelemetry_traces_sampler", "opentelemetry_sampler"):
        (found,) = entry_points(group=group, name="perfmon")
        assert found.load() is make_sampler


@pytest.mark.parametrize(("ratio", "decision"), [("0", Decision.RECORD_ONLY), ("1", Decision.RECORD_AND_SAMPLE)])
def test_what_is_not_sampled_is_recorded(ratio, decision):
    assert make_sampler(ratio).should_sample(None, 2**127 + 5, "op").decision is decision


def test_a_child_goes_where_its_parent_goes():
    parent = trace.SpanContext(5, 6, is_remote=True, trace_flags=trace.TraceFlags(0))
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    assert make_sampler("1").should_sample(context, 5, "op").decision is Decision.RECORD_ONLY


@pytest.mark.parametrize("wrong", ["half", "2", "-1", "nan", "", None, [1]])
def test_a_wrong_share_is_all_of_it(wrong):
    sampler = make_sampler(wrong)
    assert sampler.should_sample(None, 5, "op").decision is Decision.RECORD_AND_SAMPLE


def test_without_a_share_the_environments_holds(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    assert make_sampler().should_sample(None, 2**127 + 5, "op").decision is Decision.RECORD_ONLY


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", ParentBased),
        ("traceidratio", TraceIdRatioBased),
        ("PARENTBASED_always_on", ParentBased),
        ("perfmon", AlwaysRecordSampler),
        ("of nobody", ParentBased),
    ],
)
def test_the_environment_may_name_any_sampler(monkeypatch, name, kind):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    assert isinstance(sampler_of_environment(), kind)


def test_always_off_is_off(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert sampler_of_environment() is ALWAYS_OFF


@pytest.mark.usefixtures("fresh_process")
def test_with_our_provider_the_sampler_stores_all_and_samples_its_share(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "perfmon")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monitor = configure("metrics.db")
    with monitor.monitor("op") as span:
        assert span.get_span_context().trace_flags.sampled is False
    assert monitor.storage.get_stats("op").count == 1
