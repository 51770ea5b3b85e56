"""Where measuring happens: without the settings that the user's environment holds, and on which machine."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Final

from otel_perfmon.config import SETTINGS

_PREFIX: Final = "OTEL_"


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """A block in which of OpenTelemetry's variables and ours only ``variables`` are set; the others come back."""
    ours = {setting.plain_variable for setting in SETTINGS if setting.plain_variable}
    hidden = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX) or name in ours}
    try:
        for name in hidden:
            del os.environ[name]
        os.environ.update(variables)
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(hidden)


def describe_machine() -> dict[str, str | int | None]:
    """What the figures depend on: versions, and how many CPUs there are."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "opentelemetry_sdk": metadata.version("opentelemetry-sdk"),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
    }
