"""The house stands as its front door says: imports point down, the core is light, and the files stay small."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import otel_perfmon

PACKAGE = Path(otel_perfmon.__file__).parent

RANKS = {
    "errors": 0,
    "redaction": 0,
    "query": 1,
    "account": 1,
    "records": 1,
    "config": 1,
    "failure": 1,
    "tree": 1,
    "frames": 1,
    "outline": 2,
    "alerts": 2,
    "trace": 2,
    "moments": 2,
    "quantities": 2,
    "visible": 0,
    "environment_variables": 2,
    "storage": 3,
    "sdk": 4,
    "otlp": 4,
    "formats": 5,
    "json_form": 5,
    "metrics_storage": 5,
    "call": 5,
    "doctor": 5,
    "operation": 6,
    "monitor": 7,
    "application": 8,
    "web": 8,
    "server": 9,
    "bench": 9,
    "launch": 9,
    "cli": 10,
    "__main__": 11,
    "__init__": 11,
}
SAME_RANK_ALLOWED = {("records", "query")}
"""Answers carry the window of their question."""

OUTSIDE = {
    "storage": {"sqlite3", "opentelemetry.context"},
    "sdk": {"opentelemetry"},
    "otlp": {"opentelemetry.proto", "google.protobuf", "starlette", "zstandard", "grpc", "httpcore"},
    "formats": {"pyarrow"},
    "metrics_storage": set(),
    "call": {"opentelemetry"},
    "doctor": set(),
    "operation": {"opentelemetry"},
    "monitor": {"opentelemetry"},
    "application": {"opentelemetry"},
    "web": {"uvicorn", "h11", "starlette", "jinja2", "markupsafe"},
    "server": {"starlette", "uvicorn"},
    "bench": {"opentelemetry", "sqlite3"},
    "launch": {"opentelemetry"},
    "cli": {"rich", "opentelemetry"},
}
HEAVY = (
    "google.protobuf",
    "starlette",
    "rich",
    "httpx",
    "httpcore",
    "jinja2",
    "uvicorn",
    "grpc",
    "requests",
    "pytest",
    "pyarrow",
    "zstandard",
)


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@cache
def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _own_room(name: str) -> str | None:
    return name.split(".")[1] if name.startswith("otel_perfmon.") else None


def test_every_module_has_a_rank() -> None:
    assert {_room(path) for path in _modules()} <= set(RANKS)


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_import_points_only_to_a_lower_rank(path: Path) -> None:
    room = _room(path)
    for name in _imports(path):
        other = _own_room(name)
        if other is None or other == room or (room, other) in SAME_RANK_ALLOWED:
            continue
        assert RANKS[other] < RANKS[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_uses_only_what_its_rank_may(path: Path) -> None:
    allowed = OUTSIDE.get(_room(path), set())
    for name in _imports(path):
        is_ours = name.split(".")[0] == "otel_perfmon"
        is_plain = name.split(".")[0] in sys.stdlib_module_names and not name.startswith("sqlite3")
        assert is_ours or is_plain or any(name == each or name.startswith(each + ".") for each in allowed), name


def test_there_are_no_cycles_between_modules() -> None:
    names = {str(path.relative_to(PACKAGE).with_suffix("")).replace("/", "."): path for path in _modules()}
    edges = {
        name: {m for m in names for i in _imports(path) if _is_module(i, m)} - {name} for name, path in names.items()
    }
    done: set[str] = set()
    while len(done) < len(edges):
        ready = {name for name, needs in edges.items() if name not in done and needs <= done}
        assert ready, f"a cycle among {sorted(set(edges) - done)}"
        done |= ready


def _is_module(imported: str, module: str) -> bool:
    if module.endswith("__init__"):
        return False
    full = f"otel_perfmon.{module}"
    return imported == full or imported.startswith(full + ".")


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import json, sys, otel_perfmon; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = json.loads(printed)
    assert [name for name in loaded if name.startswith((*HEAVY, "otel_perfmon.bench"))] == []


def test_only_what_may_open_a_database_names_sqlite3s_connect() -> None:
    for path in _modules():
        calls = re.findall(r"sqlite3\.connect\(", path.read_text(encoding="utf-8"))
        assert calls == [], f"{path}: instrumentations wrap sqlite3.connect"


def test_posix_only_modules_are_imported_behind_a_guard() -> None:
    for path in _modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"fcntl", "pwd", "grp", "resource", "termios"}, path


def test_files_and_functions_stay_small() -> None:
    for path in _modules():
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) < 450, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name}"


def test_the_front_door_holds_a_docstring_imports_and_all() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert isinstance(tree.body[0], ast.Expr)
    *rest, later, listing = tree.body[1:]
    assert all(isinstance(node, (ast.ImportFrom, ast.If, ast.Assign)) for node in rest)
    assert [later.name, listing.name] == ["__getattr__", "__dir__"]


def test_what_is_loaded_later_is_what_a_type_checker_is_told() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert told == {name: f"otel_perfmon.{home}" for name, home in otel_perfmon._HOMES.items()}


def test_asking_a_store_does_not_load_the_sdk() -> None:
    program = (
        "import sys, otel_perfmon, otel_perfmon.cli.main; print([n for n in sys.modules if 'opentelemetry.sdk' in n])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_front_door_tells_the_ranks_in_their_order() -> None:
    told = re.findall(
        r"errors, redaction, visible; query, records, account, config, failure, tree, frames; alerts, .*?cli",
        (otel_perfmon.__doc__ or "").replace("\n", " "),
    )
    rooms = re.findall(r"\w+", told[0])
    assert [RANKS[room] for room in rooms] == sorted(RANKS[room] for room in rooms)
    assert set(rooms) == set(RANKS) - {"__main__", "__init__"}
