"""On the path of a Python process, puts our tracer provider and our span in the place of the SDK's.

Python imports this module by its name when it starts, so that the processes which the SDK's tests start get ours too.
Whoever then says ``opentelemetry.sdk.trace.TracerProvider`` gets ours, and with it our tracers; whoever makes a
``_Span`` by hand gets our span. The name ``Tracer`` stays the SDK's: nobody makes a tracer but a provider.

Some of the SDK's tests reload ``opentelemetry.sdk.trace``, which would bring its own classes back for the rest of the
run: ours are then reloaded on top of it.
"""

from __future__ import annotations

import importlib
import sys
from graphlib import TopologicalSorter
from types import ModuleType

from opentelemetry.sdk import trace

from otel_perfmon.sdk import span as our_span
from otel_perfmon.sdk import tracer as our_tracer

_stock_reload = importlib.reload


def _replace() -> None:
    replaced = {trace.TracerProvider: our_tracer.TracerProvider, trace._Span: our_span.Span}
    for module in [module for name, module in sys.modules.items() if name.startswith("opentelemetry.")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in replaced:
                setattr(module, name, replaced[value])


def _reload(module: ModuleType) -> ModuleType:
    reloaded = _stock_reload(module)
    if module is trace:
        for name in _our_modules():
            _stock_reload(sys.modules[name])
        _replace()
    return reloaded


def _our_modules() -> list[str]:
    """Our modules that stand on the SDK, each after those that it imports from."""
    names = [name for name in sys.modules if name.startswith("otel_perfmon.sdk.")]
    needs = {name: set(map(_home, vars(sys.modules[name]).values())) & set(names) - {name} for name in names}
    return list(TopologicalSorter(needs).static_order())


def _home(value: object) -> str:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return home if isinstance(home, str) else ""


_replace()
importlib.reload = _reload
