"""The private names of OpenTelemetry that `otel_perfmon.sdk` touches: all are known, and there.

Run on another SDK, this says what of it has moved. What the histogram touches stands in `gathering.PRIVATE_NAMES`.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from opentelemetry import context, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.metrics import _internal as metrics
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import sampling

import otel_perfmon.sdk
from otel_perfmon.sdk import gathering

FILES = sorted(Path(otel_perfmon.sdk.__file__).parent.glob("*.py"))


def _provider() -> sdk.TracerProvider:
    return sdk.TracerProvider(shutdown_on_exit=False)


def _span() -> sdk.Span:
    span = _provider().get_tracer("t").start_span("op")
    assert isinstance(span, sdk.Span)
    return span


OWNERS = {
    "opentelemetry.trace": lambda: trace,
    "opentelemetry.metrics": lambda: metrics,
    "the runtime context": lambda: context._RUNTIME_CONTEXT,
    "opentelemetry.sdk.trace": lambda: sdk,
    "opentelemetry.sdk.trace.sampling": lambda: sampling,
    "a provider": _provider,
    "a processor of processors": lambda: _provider()._active_span_processor,
    "a tracer": lambda: _provider().get_tracer("t"),
    "a span": _span,
    "attributes": BoundedAttributes,
    "a kind of span": lambda: trace.SpanKind.INTERNAL,
    "a sampler that is always on": lambda: sampling.ALWAYS_ON,
    "a sampler by the parent": lambda: sampling.ParentBased(sampling.ALWAYS_ON),
    "a sampler that always records": lambda: sampling.AlwaysRecordSampler(sampling.ALWAYS_ON),
}
TOUCHED = {
    "opentelemetry.trace": ["_TRACER_PROVIDER", "_TRACER_PROVIDER_SET_ONCE"],
    "opentelemetry.metrics": ["_METER_PROVIDER", "_METER_PROVIDER_SET_ONCE"],
    "the runtime context": ["_current_context"],
    "opentelemetry.sdk.trace": ["_Span"],
    "opentelemetry.sdk.trace.sampling": ["_get_from_env_or_default"],
    "a provider": ["_active_span_processor", "_tracers", "_tracers_lock"],
    "a processor of processors": ["_lock", "_on_ending", "_span_processors"],
    "a tracer": ["_instrumentation_scope", "_span_limits", "_tracer_config", "_tracer_metrics"],
    "a span": [
        *(
            "_attributes",
            "_context",
            "_end_time",
            "_events",
            "_instrumentation_info",
            "_instrumentation_scope",
            "_kind",
        ),
        *("_limits", "_links", "_lock", "_name", "_new_events", "_new_links", "_parent", "_readable_span"),
        *("_record_end_metrics", "_record_exception", "_resource", "_sampler", "_set_status_on_exception"),
        *("_span_processor", "_start_time", "_status"),
    ],
    "attributes": ["_dict", "_immutable"],
    "a kind of span": ["_value_"],
    "a sampler that is always on": ["_decision"],
    "a sampler by the parent": ["_local_parent_sampled", "_remote_parent_sampled", "_root"],
    "a sampler that always records": ["_root"],
}
PYTHONS = {"_current_frames", "_current_tasks", "_get_running_loop", "_replace"}
"""Of named tuples, of sys, and of asyncio."""


@cache
def _trees() -> list[ast.Module]:
    return [ast.parse(path.read_text(encoding="utf-8")) for path in FILES]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def _touched() -> set[str]:
    """Private names after a dot."""
    nodes = (node for tree in _trees() for node in ast.walk(tree))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and _is_private(node.attr)}


def _imported() -> set[tuple[str, str]]:
    """Private names, and modules with a private part, that are imported from OpenTelemetry."""
    nodes = (node for tree in _trees() for node in ast.walk(tree))
    return {
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("opentelemetry")
        for alias in node.names
        if any(map(_is_private, (*node.module.split("."), alias.name)))
    }


def _own() -> set[str]:
    """Private names that our own classes and modules give: methods, class attributes, slots, `self._x = ...`."""
    return {name for tree in _trees() for node in ast.walk(tree) for name in _given(node) if _is_private(name)}


def _given(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from _targets(target)
            if isinstance(target, ast.Name) and target.id == "__slots__":
                yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))


def _targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        yield target.attr
    elif isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _targets(each)


def _metrics_names() -> set[str]:
    """`histogram/test_other_sdks.py` proves that these exist."""
    return {name for names in gathering.PRIVATE_NAMES.values() for name in names}


def test_every_private_name_that_is_touched_is_in_the_table() -> None:
    known = {name for names in TOUCHED.values() for name in names} | _metrics_names() | PYTHONS
    assert _touched() - _own() - known == set()


def test_every_name_in_the_table_is_touched() -> None:
    written = {name for tree in _trees() for name in ast.walk(tree) if isinstance(name, ast.Constant)}
    touched = _touched() | _own() | {each.value for each in written if isinstance(each.value, str)}
    assert {name for names in TOUCHED.values() for name in names} - touched == set()


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner in TOUCHED for name in TOUCHED[owner]])
def test_the_installed_sdk_has_every_private_name_that_is_touched(owner: str, name: str) -> None:
    assert hasattr(OWNERS[owner](), name), f"{owner} has no {name}"


@pytest.mark.parametrize(("module", "name"), sorted(_imported()))
def test_the_installed_sdk_has_every_private_name_that_is_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)
