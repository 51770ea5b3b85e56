"""The questions described as OpenAPI 3.1, from their parameters and the types of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from inspect import getdoc
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from otel_perfmon.json_form import DERIVED
from otel_perfmon.query import Window
from otel_perfmon.web.api.parameters import Parameter
from otel_perfmon.web.api.questions import Question

_PLAIN: Final[dict[Any, dict[str, Any]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "object", "properties": {"@bytes": {"type": "string", "contentEncoding": "base64"}}},
    NoneType: {"type": "null"},
    Any: {},
}
_ERROR: Final = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error", "message"],
}
_ERRORS: Final = {
    "400": "The question is malformed.",
    "404": "There is nothing under that key.",
    "503": "The store could not answer, or not in time.",
}
_WINDOW: Final = {
    "type": "object",
    "properties": {
        "start": {"type": "string", "format": "date-time"},
        "end": {"type": "string", "format": "date-time"},
        "start_unix_nano": {"type": "integer"},
        "end_unix_nano": {"type": "integer"},
    },
    "required": ["start", "end", "start_unix_nano", "end_unix_nano"],
}
_Schema = Mapping[str, Any]


def describe(questions: Iterable[Question]) -> dict[str, Any]:
    """The document."""
    schemas = _Schemas()
    paths = {each.path: {"get": _operation(each, schemas)} for each in questions}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "otel_perfmon",
            "version": "1",
            "description": "What one store holds. Names tell units; times are Unix seconds, or nanoseconds.",
        },
        "paths": paths,
        "components": {"schemas": {**schemas.by_name, "Window": _WINDOW, "Error": _ERROR}},
    }


def _operation(question: Question, schemas: _Schemas) -> dict[str, Any]:
    answer = schemas.of(question.answer)
    if get_origin(question.answer) is list:
        answer = {"type": "object", "properties": {"items": answer}, "required": ["items"]}
    errors = {status: _response(what, {"$ref": "#/components/schemas/Error"}) for status, what in _ERRORS.items()}
    return {
        "summary": question.summary,
        "parameters": [_parameter(each) for each in question.parameters],
        "responses": {"200": _response("The answer.", answer), **errors},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: _Schema = dict(parameter.schema)
    return {
        "name": parameter.name,
        "in": "path" if parameter.is_in_path else "query",
        "required": parameter.is_required,
        "description": parameter.description,
        "schema": {"type": "array", "items": schema} if parameter.is_repeated else schema,
    }


def _response(description: str, schema: _Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


class _Schemas:
    """Schemas of types; those of records stand by themselves, under their names."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Schema] = {}

    def of(self, kind: Any) -> _Schema:
        """The schema of what `as_json` makes of a value of that type."""
        if kind in _PLAIN:
            return _PLAIN[kind]
        if isinstance(kind, type) and (is_dataclass(kind) or hasattr(kind, "_fields")):
            return self._reference_to(kind)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in {Union, UnionType}:
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is Literal:
            return {"enum": list(arguments)}
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin is tuple and arguments[-1] is not Ellipsis:
            return {"type": "array", "prefixItems": [self.of(each) for each in arguments]}
        return {"type": "array", "items": self.of(arguments[0])}

    def _reference_to(self, kind: type) -> _Schema:
        if kind is not Window and kind.__name__ not in self.by_name:
            self.by_name[kind.__name__] = {}  # it may hold others of its kind
            self.by_name[kind.__name__] = self._record(kind)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}

    def _record(self, kind: type) -> _Schema:
        types = get_type_hints(kind)
        names = [each.name for each in fields(kind)] if is_dataclass(kind) else list(types)
        derived = {name: get_type_hints(getattr(kind, name).fget)["return"] for name in DERIVED.get(kind, ())}
        properties = {name: self.of(types[name]) for name in names}
        properties |= {name: self.of(each) for name, each in derived.items()}
        return {
            "type": "object",
            "description": (getdoc(kind) or "").partition("\n\n")[0],
            "properties": properties,
            "required": [name for name in properties if name != "otlp"],
        }
