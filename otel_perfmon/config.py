"""Settings, resolved once: an argument wins over a prefixed variable, that over a plain one, that over the default.

The prefixed variables (``OTEL_PYTHON_PERFMON_…``) are ours: a wrong value is a `ConfigError`. The plain names
(``SLOW_REQUEST_THRESHOLD_MS`` …) may belong to the host program: a wrong value there is a warning and the default.
An empty variable is an unset one (OpenTelemetry, "Environment variable specification").
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_perfmon.errors import ConfigError
from otel_perfmon.redaction.patterns import fault_of
from otel_perfmon.redaction.urls import shown_url

_logger = logging.getLogger("otel_perfmon")

PREFIX: Final = "OTEL_PYTHON_PERFMON_"
_INT64_MAX: Final = 2**63 - 1
DURABILITIES: Final = ("batch", "root", "span")
SIZE_MIN_BYTES: Final = 64 * 1024 * 1024
"""A store that holds less could not even hold its statistics."""
_BYTES_OF_UNIT: Final = {None: 1, "K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one monitor.

    ``path`` is absolute; ``slow_threshold_ms`` in milliseconds, at or above 0; ``retention_seconds`` is how long
    ordinary spans are kept, ``keep_seconds`` how long slow and failed ones with their traces are; ``size_max_bytes``
    what the file with its log may take. An alarm is raised for an operation of at least ``error_rate_min_count`` calls
    in the last hour, of which a share of more than ``error_rate_threshold`` (between 0 and 1) failed. ``durability`` is
    one of ``batch`` (in the file within 200 ms), ``root`` (when a local root span ends) and ``span`` (when any span
    ends). ``sample_rate`` is the share of local traces that is stored, between 0 and 1, ``sample_rates`` that of those
    whose root is a certain operation; slow and failed ones are stored whole, and all are counted. ``slow_stacks`` says
    whether the stack of an operation is taken when it passes its slow threshold, ``redact`` whether secrets are taken
    out of what is stored; ``redact_keys`` are more names of secrets, ``redact_patterns`` regular expressions of more.
    ``forward_to`` are the destinations that spans are sent on to; of whole traces all that are slow or failed, and of
    the rest the share ``forward_sample_rate``, ``forward_decision_wait_seconds`` after they arrived.
    """

    path: str
    slow_threshold_ms: float = 1000.0
    retention_seconds: float = 3600.0
    keep_seconds: float = 604_800.0
    size_max_bytes: int = 536_870_912
    error_rate_threshold: float = 0.1
    error_rate_min_count: int = 20
    durability: str = "batch"
    sample_rate: float = 1.0
    sample_rates: Mapping[str, float] = field(default_factory=dict)
    slow_stacks: bool = True
    redact: bool = True
    redact_keys: tuple[str, ...] = ()
    redact_patterns: tuple[str, ...] = ()
    forward_to: tuple[str, ...] = ()
    forward_sample_rate: float = 1.0
    forward_decision_wait_seconds: float = 30.0


class _Address(str):
    """A URL that does not show its credentials where it is quoted."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_url(str(self)))


@dataclass(frozen=True, slots=True)
class _Setting:
    field: str
    plain_variable: str | None
    default: Any
    parse: Callable[[Any], Any]
    range: str

    @property
    def prefixed_variable(self) -> str:
        return PREFIX + self.field.upper()


class _RefusedError(ValueError):
    """Says more than the range of the setting does."""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _at_least_zero(value: Any) -> float:
    number = _number(value)
    if number < 0:
        raise ValueError
    return number


def _above_zero(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError
    return number


def _count(value: Any) -> int:
    number = _number(value)
    if number < 1 or number > _INT64_MAX or not number.is_integer():
        raise ValueError
    return int(number)


def _size_bytes(value: Any) -> int:
    number, unit = value, None
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,19})\s*(?:([KMG])I?B)?", value.strip().upper(), re.ASCII)
        if match is None:
            raise ValueError
        number, unit = int(match[1]), match[2]
    size = _count(number) * _BYTES_OF_UNIT[unit]
    if not SIZE_MIN_BYTES <= size <= _INT64_MAX:
        raise ValueError
    return size


def _share(value: Any) -> float:
    number = _at_least_zero(value)
    if number > 1:
        raise ValueError
    return number


def _switch(value: Any) -> bool:
    """True or False, or OpenTelemetry's words for them."""
    if isinstance(value, str):
        value = {"true": True, "false": False}[value.strip().lower()]
    if not isinstance(value, bool):
        raise TypeError
    return value


def _shares(value: Any) -> Mapping[str, float]:
    """Shares by name, from a mapping or from text: ``GET /health=0, checkout=1``."""
    if isinstance(value, str):
        pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): share for name, _, share in pairs}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        raise TypeError
    return {name: _share(share) for name, share in value.items()}


def _path(value: Any) -> str:
    path: str | bytes = os.fspath(value)
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not path or "\0" in path or path.startswith(("file:", ":memory:")):
        raise ValueError
    return str(os.path.abspath(path))


def _durability(value: Any) -> str:
    if value not in DURABILITIES:
        raise ValueError
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    """Names, from a sequence or from text: ``tax id, badge``."""
    names = tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else tuple(value)
    if not all(isinstance(name, str) and re.search("[A-Za-z0-9]", name) for name in names):
        raise ValueError
    return names


def _patterns(value: Any) -> tuple[str, ...]:
    """Regular expressions, from a sequence or from text, one a line."""
    patterns = tuple(filter(None, map(str.strip, value.splitlines()))) if isinstance(value, str) else tuple(value)
    for pattern in patterns:
        if fault := fault_of(pattern):
            message = f"{pattern!r:.80} cannot be run: {fault}"
            raise _RefusedError(message)
    return patterns


def _addresses(value: Any) -> tuple[str, ...]:
    """URLs of OTLP receivers, or ``env``; from a sequence or from text, with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    addresses = tuple(_Address(part.strip()) for part in parts if part.strip())
    if not all(each == "env" or re.fullmatch(r"(https?|grpcs?)://[^\s/?#][^\s]*", each) for each in addresses):
        raise ValueError
    return addresses


SETTINGS: Final = (
    _Setting("path", None, "metrics.db", _path, "the path of a file, not empty"),
    _Setting(
        "slow_threshold_ms", "SLOW_REQUEST_THRESHOLD_MS", 1000.0, _at_least_zero, "a number of milliseconds, 0 or more"
    ),
    _Setting("retention_seconds", "SAMPLING_WINDOW_SECONDS", 3600.0, _above_zero, "a number of seconds above 0"),
    _Setting("keep_seconds", None, 604_800.0, _above_zero, "a number of seconds above 0"),
    _Setting("size_max_bytes", None, 536_870_912, _size_bytes, "a whole number of bytes, 64MB or more, such as 512MB"),
    _Setting("error_rate_threshold", "ERROR_RATE_THRESHOLD", 0.1, _share, "a number between 0 and 1"),
    _Setting("error_rate_min_count", None, 20, _count, "a whole number of calls, 1 or more"),
    _Setting("durability", None, "batch", _durability, "one of " + ", ".join(DURABILITIES)),
    _Setting("sample_rate", None, 1.0, _share, "a number between 0 and 1"),
    _Setting("sample_rates", None, {}, _shares, "numbers between 0 and 1 by operation, such as 'GET /health=0.01'"),
    _Setting("slow_stacks", None, True, _switch, "true or false"),
    _Setting("redact", None, True, _switch, "true or false"),
    _Setting("redact_keys", None, (), _names, "names with letters or digits, such as 'tax id, badge'"),
    _Setting("redact_patterns", None, (), _patterns, "regular expressions, in the variable one a line"),
    _Setting(
        "forward_to", None, (), _addresses, "URLs such as http://collector:4318 or grpc://collector:4317, or 'env'"
    ),
    _Setting("forward_sample_rate", None, 1.0, _share, "a number between 0 and 1"),
    _Setting("forward_decision_wait_seconds", None, 30.0, _at_least_zero, "a number of seconds, 0 or more"),
)
_BY_FIELD: Final = {setting.field: setting for setting in SETTINGS}


def resolve_config(arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Settle every setting; an argument of None counts as not given.

    Raises `ConfigError` for a wrong value in an argument or a prefixed variable.
    """
    environ = os.environ if environ is None else environ
    return Config(**{s.field: _settle(s, arguments.get(s.field), environ, lenient=False) for s in SETTINGS})


def resolve_config_leniently(arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Config:
    """Settle every setting without ever raising: a wrong value is logged and the next source is asked.

    For objects that the OpenTelemetry SDK builds itself, where an exception would take the whole set-up down.
    """
    environ = os.environ if environ is None else environ
    return Config(**{s.field: _settle(s, arguments.get(s.field), environ, lenient=True) for s in SETTINGS})


def resolve_setting(field: str, argument: Any = None, environ: Mapping[str, str] | None = None) -> Any:
    """Settle one setting alone, whatever the others may be; an argument of None counts as not given.

    Raises `ConfigError` for a wrong value in the argument or the prefixed variable.
    """
    return _settle(_BY_FIELD[field], argument, os.environ if environ is None else environ, lenient=False)


def parse_setting(field: str, value: Any) -> Any:
    """Check one value for the setting ``field``; raises `ConfigError` when it is wrong."""
    return _parse(_BY_FIELD[field], value, f"argument {field}")


def nano_of_ms(milliseconds: float) -> int:
    """Milliseconds, 0 or more, as whole nanoseconds that fit 64 bits."""
    nano = milliseconds * 1e6
    return round(nano) if nano < _INT64_MAX else _INT64_MAX


def _settle(setting: _Setting, argument: Any, environ: Mapping[str, str], *, lenient: bool) -> Any:
    sources = [(f"argument {setting.field}", argument, lenient)]
    sources.append((setting.prefixed_variable, environ.get(setting.prefixed_variable) or None, lenient))
    if setting.plain_variable:
        sources.append((setting.plain_variable, environ.get(setting.plain_variable) or None, True))
    for source, value, warn_only in sources:
        if value is None:
            continue
        try:
            return _parse(setting, value, source)
        except ConfigError as error:
            if not warn_only:
                raise
            _logger.warning("%s It is ignored.", error)
    try:
        return _parse(setting, setting.default, "the default")
    except ConfigError:  # the working directory is gone
        if not lenient:
            raise
        return setting.default


def _parse(setting: _Setting, value: Any, source: str) -> Any:
    try:
        return setting.parse(value)
    except _RefusedError as error:
        shown = _shown(value, is_address=setting.parse is _addresses)
        message = f"{setting.field} must be {setting.range}; {source} is {shown}: {error}."
        raise ConfigError(message) from None
    except Exception:  # a value may be anything, its own methods included
        shown = _shown(value, is_address=setting.parse is _addresses)
        message = f"{setting.field} must be {setting.range}; {source} is {shown}."
        raise ConfigError(message) from None


def _shown(value: Any, *, is_address: bool) -> str:
    try:
        return f"{_without_credentials(value, is_address=is_address)!r:.200}"
    except Exception:  # a number of 5,000 digits, an object without a readable form
        return f"of type {type(value).__name__}"


def _without_credentials(value: Any, *, is_address: bool) -> Any:
    if type(value) in {list, tuple}:
        return [_without_credentials(each, is_address=is_address) for each in value]
    return _Address(value) if type(value) is str and (is_address or "://" in value) else value
