"""The private names of OpenTelemetry that `otel_perfmon.sdk` touches: all are known here, and the installed SDK has them."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from opentelemetry import context, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import sampling

import otel_perfmon.sdk

FILES = sorted(Path(otel_perfmon.sdk.__file__).parent.glob("*.py"))


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


if __name__ == "__main__":
    print(sorted(_touched() - _own()), sorted(_imported()), sorted(_touched() & _own()), sep="\n")
