"""``otel-perfmon doctor``: is the file sound, was anything lost, and what is to be done about it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from otel_perfmon.account import ProcessHealth
from otel_perfmon.cli import options
from otel_perfmon.cli.answer import Answer, open_answer
from otel_perfmon.cli.report import Column, print_heading, print_table, print_wrapped, printable, separate
from otel_perfmon.cli.span_view import print_labeled
from otel_perfmon.doctor import Finding, examine
from otel_perfmon.moments import ago
from otel_perfmon.quantities import count, size
from otel_perfmon.storage.sqlite.examination import Evidence

FINDINGS: Final = 1
"""The exit status that says so."""
_STYLES: Final = {"error": "red", "warning": "yellow", "note": "dim"}
_EPILOG: Final = """\
examples:
  otel-perfmon doctor
  otel-perfmon doctor --full            every page and index, however long
  otel-perfmon doctor --json | jq '.items[0].findings[].name'
  otel-perfmon doctor > found.txt || mail -s shop ops < found.txt

It changes nothing. Of every process: ended = counted + dropped + queued, and
counted = stored + sampled out.

exit status: 0 no findings but notes, 1 findings, 2 wrong usage, 3 there is no
file, or it cannot be read"""


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``doctor``."""
    parser.epilog = _EPILOG
    parser.add_argument("--full", action="store_true", help="check every page and index, however long it takes")
    options.add_store_options(parser)
    parser.set_defaults(run=_run_doctor)


def _run_doctor(arguments: argparse.Namespace) -> int:
    with open_answer(arguments) as answer:
        findings, evidence = examine(os.path.realpath(answer.path), is_full=arguments.full)
        if answer.is_json:
            told = {"figures": _figures(evidence), "processes": evidence.processes or []}
            answer.print_json([{"findings": findings, **told}], is_complete=evidence.is_whole)
        else:
            _print_report(answer, findings, evidence)
    return FINDINGS if any(each.severity != "note" for each in findings) else 0


def _version(evidence: Evidence) -> str:
    return ".".join(map(str, evidence.sqlite_version))


def _figures(evidence: Evidence) -> dict[str, Any]:
    return {
        "file_bytes": evidence.sizes_bytes.get("", 0),
        "wal_bytes": evidence.wal_bytes,
        "free_bytes": evidence.free_bytes,
        "size_max_bytes": evidence.summary.size_max_bytes if evidence.summary else None,
        "span_count": evidence.row_count,
        "schema_version": evidence.schema_version,
        "sqlite_version": _version(evidence),
        "problems": evidence.problems,
    }


def _print_report(answer: Answer, findings: list[Finding], evidence: Evidence) -> None:
    console = answer.console
    title = printable(evidence.path)
    title.stylize("bold")
    console.print(title, soft_wrap=True)  # in one piece, to be copied
    print_labeled(console, _told(evidence), is_folded=console.is_terminal)
    processes = [each for each in evidence.processes or () if _is_worth_a_row(each)]
    if processes:
        print_heading(console, "Account", "ended = counted + dropped + queued; counted = stored + sampled out")
        print_table(console, _columns(time.time()), processes)
    _print_findings(console, findings)


def _print_findings(console: Console, findings: list[Finding]) -> None:
    found_count = sum(1 for each in findings if each.severity != "note")
    if not found_count:
        separate(console)
        is_known = any(each.name == "died" for each in findings)
        print_wrapped(console, Text("Nothing else is wrong." if is_known else "Nothing is wrong."))
    for finding in findings:
        separate(console)
        style = _STYLES[finding.severity]
        sentence = Text(f"{finding.severity}: ", style).append_text(printable(finding.sentence))
        print_wrapped(console, sentence)
        print_labeled(console, {"": printable(finding.advice)})


def _told(evidence: Evidence) -> Mapping[str, Text]:
    told = {"size": Text(f"{size(evidence.sizes_bytes.get('', 0))}, log {size(evidence.wal_bytes)}")}
    if evidence.free_bytes is not None:
        told["free"] = Text(size(evidence.free_bytes))
    if evidence.row_count is not None:
        told["spans"] = Text(count(evidence.row_count))
    checked = "damaged" if evidence.problems else "could not be looked at" if evidence.refusal else "sound"
    told["database"] = Text(checked if evidence.is_whole or evidence.problems else "not checked wholly")
    if evidence.schema_version is not None:
        told["format"] = Text(f"schema {evidence.schema_version}, read by SQLite {_version(evidence)}")
    return told


def _columns(now: float) -> list[Column[ProcessHealth]]:
    def number(heading: str, figure: str, rank: int = 0) -> Column[ProcessHealth]:
        return Column(heading, lambda each: Text(count(getattr(each.health, figure))), rank)

    return [
        Column("Process", lambda each: Text(str(each.pid) if each.pid else "past"), is_text=True),
        Column("State", lambda each: Text(_state(each)), 3, is_text=True),
        Column("Wrote", lambda each: Text(ago(each.updated, now)), 4),
        number("Ended", "ended"),
        number("Counted", "counted"),
        Column("Dropped", _dropped),
        number("Queued", "queued", 1),
        number("Stored", "stored", 2),
        number("Sampled out", "sampled_out", 5),
        number("Pruned", "pruned", 6),
    ]


def _is_worth_a_row(process: ProcessHealth) -> bool:
    return bool(process.health.ended or process.health.pruned or not (process.is_closed or not process.pid))


def _dropped(process: ProcessHealth) -> Text:
    total = sum(process.health.dropped.values())
    return Text(count(total), "red" if total else "")


def _state(process: ProcessHealth) -> str:
    if process.is_closed or not process.pid:
        return "closed"
    return {True: "records", False: "died", None: "unknown"}[process.is_alive]
