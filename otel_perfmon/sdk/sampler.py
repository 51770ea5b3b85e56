"""Which traces go elsewhere: all spans are recorded, for the local file, and a share of them is sampled.

The SDK's batch and simple processors, and so every exporter behind them, get the sampled spans only; the processor of
`configure()` gets what is recorded.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points
from typing import Final

from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG
from opentelemetry.sdk.trace import sampling

_logger = logging.getLogger("otel_perfmon")

_OF_THE_SDK: Final = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)
"""What ``OTEL_TRACES_SAMPLER`` may say without any package (OpenTelemetry, "SDK environment variables")."""


def make_sampler(ratio: str | float | None = None) -> sampling.Sampler:
    """The sampler ``perfmon``: records every span, and samples what its parent says, of new traces the share ``ratio``.

    Without ``ratio`` that of ``OTEL_TRACES_SAMPLER_ARG``, else 1. A wrong one is logged and counts as 1: the SDK, which
    calls this by the entry points of both its groups of samplers, would go on without our sampler.
    """
    given = os.environ.get(OTEL_TRACES_SAMPLER_ARG) if ratio is None else ratio
    try:
        root = sampling.TraceIdRatioBased(1.0 if given in (None, "") else float(given))
    except (TypeError, ValueError):
        _logger.warning(
            "The sampler perfmon takes a number between 0 and 1 (%s), not %.100r: all is sampled.",
            OTEL_TRACES_SAMPLER_ARG,
            given,
        )
        root = sampling.TraceIdRatioBased(1.0)
    return sampling.AlwaysRecordSampler(sampling.ParentBased(root))


def sampler_of_environment() -> sampling.Sampler:
    """The sampler that ``OTEL_TRACES_SAMPLER`` names, one of another package by its entry point too.

    The SDK's provider knows its own names only; those of packages are the SDK's configurator's.
    """
    name = os.environ.get(OTEL_TRACES_SAMPLER, "").strip()
    if not name or name.lower() in _OF_THE_SDK:
        return sampling._get_from_env_or_default() if name else sampling.DEFAULT_ON
    try:
        (entry, *_) = entry_points(group="opentelemetry_traces_sampler", name=name)
        sampler = entry.load()(os.environ.get(OTEL_TRACES_SAMPLER_ARG))
    except Exception as error:  # the outer rim: no such package, or one that raises
        _logger.warning("There is no sampler %.100r (%s): all is sampled. %r", name, OTEL_TRACES_SAMPLER, error)
        return sampling.DEFAULT_ON
    if not isinstance(sampler, sampling.Sampler):
        _logger.warning("The sampler %.100r (%s) is none: all is sampled.", name, OTEL_TRACES_SAMPLER)
        return sampling.DEFAULT_ON
    return sampler
