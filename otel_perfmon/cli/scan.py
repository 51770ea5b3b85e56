"""``otel-perfmon scan``: secrets that are stored already, and out with them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from otel_perfmon.account import SecretFinding
from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.checks import FINDINGS
from otel_perfmon.cli.report import Column, print_heading, print_table, printable
from otel_perfmon.config import resolve_setting
from otel_perfmon.quantities import count, counted
from otel_perfmon.storage.redactor import RedactionPolicy
from otel_perfmon.storage.sqlite.damage import files_set_aside

_EPILOG: Final = """\
examples:
  otel-perfmon scan              where secrets are; changes nothing
  otel-perfmon scan --rewrite    take them out, of the file and its log
  otel-perfmon scan --key "tax id" --pattern "corp-[0-9]{6}"
  otel-perfmon scan --json | jq '.items[] | {place, key, count}'

Looks for what redaction looks for, and for what --key, --pattern and
$OTEL_PYTHON_PERFMON_REDACT_KEYS and _PATTERNS add. Never prints a secret.
Programs may go on recording meanwhile. Copies and backups are not touched.
Damaged files that were moved aside are named; they are not scanned.

exit status: 0 nothing was found, 1 something was (also if it is taken out now)
or a file was moved aside, 2 wrong usage, 3 the store could not answer"""
_ASIDE: Final = "was moved aside when it was damaged and was not scanned; delete it when you need nothing of it."
_INDEX: Final = "-shm"
"""Ends the name of a log's index, which holds nothing of what was stored."""


def add_scan(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``scan``."""
    parser.epilog = _EPILOG
    parser.add_argument("--rewrite", action="store_true", help="take out what is found; it cannot be brought back")
    parser.add_argument("--key", metavar="NAME", action="append", help="also what stands under this name; repeatable")
    parser.add_argument("--pattern", metavar="REGEX", action="append", help="also what this matches; repeatable")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_scan)


def _run_scan(arguments: argparse.Namespace) -> int:
    policy = RedactionPolicy(
        keys=(*resolve_setting("redact_keys"), *resolve_setting("redact_keys", arguments.key or None)),
        patterns=(*resolve_setting("redact_patterns"), *resolve_setting("redact_patterns", arguments.pattern or None)),
    )
    with open_answer(arguments) as answer:
        found = answer.store.remove_secrets(policy) if arguments.rewrite else answer.store.find_secrets(policy)
        aside = [path for path in files_set_aside(answer.path) if not path.endswith(_INDEX)]
        if answer.is_json:
            answer.print_json([*found, *map(_as_item, aside)], is_complete=not aside)
            return FINDINGS if found or aside else 0
        if found:
            _print_findings(answer, found, is_rewritten=arguments.rewrite)
        else:
            answer.console.print("No secrets were found.")
        for path in aside:
            answer.console.print(printable(f"{path} {_ASIDE}"), soft_wrap=True)
    return FINDINGS if found or aside else 0


def _as_item(path: str) -> dict[str, Any]:
    """A file moved aside, in the shape of a finding of which it is not known what it holds."""
    return {"place": path, "key": "", "count": None, "note": _ASIDE}


def _print_findings(answer: Answer, found: Sequence[SecretFinding], *, is_rewritten: bool) -> None:
    print_heading(answer.console, "Secrets", "taken out" if is_rewritten else "stored")
    columns: list[Column[SecretFinding]] = [
        Column("Where", lambda each: printable(each.place), is_text=True),
        Column("Key", lambda each: printable(each.key), is_text=True),
        Column("Rows", lambda each: Text(count(each.count))),
    ]
    print_table(answer.console, columns, found)
    if is_rewritten:
        answer.console.print("They are gone from the file and its log; change them all the same.", soft_wrap=True)
    else:
        places = counted(len(found), "place")
        answer.console.print(f"Found in {places}. --rewrite takes them out.", soft_wrap=True)
