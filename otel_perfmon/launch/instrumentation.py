"""The instrumentation packages that are installed, each switched on as ``opentelemetry-instrument`` would.

It leaves out what `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` names, what is on already, and what instruments a library
that is not installed. One that fails is logged, and the others go on.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import EntryPoint, entry_points
from typing import Final

_logger = logging.getLogger("otel_perfmon")

DISABLED: Final = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


def instrument_installed() -> list[str]:
    """Switch them on; gives the names of those that are."""
    disabled = {name.strip() for name in os.environ.get(DISABLED, "").split(",")}
    if "*" in disabled:
        return []
    found = entry_points(group="opentelemetry_instrumentor")
    return [entry.name for entry in found if entry.name not in disabled and _instrument(entry)]


def _instrument(entry: EntryPoint) -> bool:
    try:
        if not _is_wanted(entry):
            return False
        instrumentor = entry.load()()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True)
    except ModuleNotFoundError as error:  # the library that it instruments
        _logger.debug("The instrumentation %s is left out: %s", entry.name, error)
        return False
    except Exception as error:  # the outer rim
        _logger.warning("The instrumentation %s is left out, it failed: %r", entry.name, error)
        return False
    return True


def _is_wanted(entry: EntryPoint) -> bool:
    """Whether the library that it instruments is installed, in a version that it knows."""
    # What instruments depends on this package; we do not.
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts  # noqa: PLC0415

    conflict = None if entry.dist is None else get_dist_dependency_conflicts(entry.dist)
    if conflict is not None and (conflict.found or conflict.found_any):  # there, but not the version
        _logger.warning("The instrumentation %s is left out: %s", entry.name, conflict)
    return conflict is None
