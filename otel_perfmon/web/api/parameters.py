"""Parameters of questions: as they stand in a URL, and as the values with which a store is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, get_args

from otel_perfmon.errors import QueryError
from otel_perfmon.query import Order, Window
from otel_perfmon.storage.attributes import parse_attribute

_TRUTHS: Final = {"true": True, "false": False}
_DIGITS_MAX: Final = 18
_TEXT: Final = {"type": "string"}


class Parameter(NamedTuple):
    """One parameter: its name, what it means, how its text is read, and its JSON schema.

    ``read`` raises `ValueError` with what is wanted instead. One that ``is_repeated`` may stand several times, and is
    a list.
    """

    name: str
    description: str
    read: Callable[[str], Any] = str
    schema: Mapping[str, Any] = _TEXT
    is_required: bool = False
    is_repeated: bool = False
    is_in_path: bool = False


def text(
    name: str, description: str, *, is_required: bool = False, is_repeated: bool = False, is_in_path: bool = False
) -> Parameter:
    """A text as it is."""
    return Parameter(name, description, str, _TEXT, is_required, is_repeated, is_in_path)


def count(name: str, description: str, most: int) -> Parameter:
    """A whole number from 1 to ``most``."""

    def read(given: str) -> int:
        number = int(given) if given.isascii() and given.isdigit() and len(given) <= _DIGITS_MAX else 0
        if not 1 <= number <= most:
            message = f"a whole number from 1 to {most} is wanted"
            raise ValueError(message)
        return number

    return Parameter(name, description, read, {"type": "integer", "minimum": 1, "maximum": most})


def number(name: str, description: str) -> Parameter:
    """A number of 0 or more."""
    return Parameter(name, description, _read_number, {"type": "number", "minimum": 0})


def truth(name: str, description: str) -> Parameter:
    """``true`` or ``false``."""
    return Parameter(name, description, _read_truth, {"type": "boolean"})


def choice(name: str, description: str, choices: Sequence[str]) -> Parameter:
    """One of some words."""

    def read(given: str) -> str:
        if given not in choices:
            message = f"one of {', '.join(choices)} is wanted"
            raise ValueError(message)
        return given

    return Parameter(name, description, read, {"type": "string", "enum": list(choices)})


def order(name: str, description: str) -> Parameter:
    """One of the orders of a `SpanQuery`."""
    return choice(name, description, get_args(Order))


WINDOW: Final = Parameter(
    "window",
    "The last 15m, 1h, 7d; or START/END, each in ISO 8601 (without an offset: this machine's local time), either left"
    " out for no bound. Without it: all that is kept.",
    Window.parse,
)


def attribute(name: str, description: str) -> Parameter:
    """An attribute and its value, several times."""
    return Parameter(name, description, parse_attribute, is_repeated=True)


def attributes_of(given: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The attributes that are asked for, by key. Raises `QueryError` when one is there twice."""
    pairs = list(given)
    attributes = dict(pairs)
    if len(attributes) < len(pairs):
        raise QueryError("An attribute has one value: name each key once.")
    return attributes


def read_parameters(parameters: Iterable[Parameter], given: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values of what is given, by name. Raises `QueryError` for what is unknown, wrong, missing or there twice."""
    known = {each.name: each for each in parameters}
    values: dict[str, Any] = {}
    for name, told in given:
        parameter = known.get(name)
        if parameter is None:
            message = f"There is no parameter {name!r:.100} here; there are {', '.join(known) or 'none'}."
            raise QueryError(message)
        value = _read(parameter, told)
        if parameter.is_repeated:
            values.setdefault(name, []).append(value)
        elif name in values:
            message = f"The parameter {name} stands there twice."
            raise QueryError(message)
        else:
            values[name] = value
    if missing := [each.name for each in known.values() if each.is_required and each.name not in values]:
        message = f"The parameter {missing[0]} is wanted."
        raise QueryError(message)
    return values


def _read(parameter: Parameter, told: str) -> Any:
    try:
        return parameter.read(told)
    except QueryError:
        raise
    except ValueError as error:
        message = f"The parameter {parameter.name} cannot be {told!r:.100}: {error}."
        raise QueryError(message) from error


def _read_number(given: str) -> float:
    value = float(given)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("a number of 0 or more is wanted")
    return value


def _read_truth(given: str) -> bool:
    if given not in _TRUTHS:
        raise ValueError("true or false is wanted")
    return _TRUTHS[given]
