"""Run the SDK's own trace tests on the SDK's tracer provider and on ours, and compare test by test.

    python tests/conformance/run.py [--version 1.45.0]

The SDK of that version (else of the installed one) is installed together with this project into a virtual environment
in a temporary folder; its tests come with its source distribution, which is downloaded there.

Ends with 0 when everything that passes on the SDK's provider passes on ours, but for the table in `deviations`; with 1
when something does not; with 2 when that could not be found out, as without a network. pytest does not collect it: its
tests need no network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from deviations import DEVIATIONS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SDK = "opentelemetry-sdk"
FOLDERS = ("tests/trace", "tests/shared_internal")
TESTS_MIN = 250
"""The SDK has 293 of them in 1.45: with far fewer, they have moved elsewhere."""
TIMEOUT_SECONDS = 600


class CannotCompareError(Exception):
    """The comparison could not be made; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """What the two runs gave, and what of it is wrong."""

    passed_on_stock: int
    passed_on_ours: int
    listed: list[str]
    deviating: list[str]
    needless: list[str]

    @property
    def is_good(self) -> bool:
        return not self.deviating and not self.needless


def compare(stock: dict[str, str], ours: dict[str, str], table: dict[str, str]) -> Comparison:
    """Test by test: what passes on the stock provider must pass on ours, unless the table lists it.

    What is listed and passes, or does not pass on the stock provider either, is listed needlessly.
    """
    wrong = [test for test, outcome in stock.items() if outcome == "passed" and ours.get(test) != "passed"]
    return Comparison(
        passed_on_stock=list(stock.values()).count("passed"),
        passed_on_ours=list(ours.values()).count("passed"),
        listed=[test for test in wrong if test in table],
        deviating=[test for test in wrong if test not in table],
        needless=[test for test in table if test not in wrong],
    )


def make_environment(sdk_version: str, folder: Path) -> Path:
    """The Python of a new virtual environment with this project, that SDK, and what its tests need."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip(python, "install", str(ROOT), f"{SDK}=={sdk_version}", "pytest>=8")
    show = "import importlib.metadata as metadata; print(metadata.version('opentelemetry-semantic-conventions'))"
    sibling = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True).stdout.strip()
    # It asks for the SDK of just its own version, and not each SDK has one: 1.45.2 has none.
    pip(python, "install", "--pre", "--no-deps", f"opentelemetry-test-utils<={sibling}")
    return python


def fetch_tests(python: Path, sdk_version: str, folder: Path) -> Path:
    """The unpacked source distribution of the SDK."""
    # Only the SDK as source: with ":all:" what builds it would be built from source too.
    pip(python, "download", "-d", str(folder), "--no-deps", "--no-binary", SDK, f"{SDK}=={sdk_version}")
    (archive,) = folder.glob("opentelemetry_sdk-*.tar.gz")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def pip(python: Path, command: str, *arguments: str) -> None:
    """Run the package client, which says itself what is wrong."""
    if subprocess.run([python, "-m", "pip", command, "-q", *arguments], check=False).returncode != 0:
        raise CannotCompareError(f"pip could not {command} {' '.join(arguments)}: is there a network?")


def run_tests(python: Path, source: Path, provider: str, python_path: list[Path]) -> dict[str, str]:
    """The outcome of each of the SDK's tests, on the provider that this path gives."""
    outcomes = source / f"{provider}.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTEST_"))}
    environment |= {
        "CONFORMANCE_OUTCOMES": str(outcomes),
        # Some of the tests start "python" and mean this one.
        "PATH": os.pathsep.join((str(python.parent), os.environ.get("PATH", ""))),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(map(str, python_path)),
    }
    print(f"== the tests of {source.name} on the provider of {provider}", flush=True)
    pytest = [python, "-m", "pytest", "-q", "--tb=short", "--rootdir=.", "-p", "no:cacheprovider"]
    command = [*pytest, "-p", "write_outcomes", *FOLDERS]
    result = subprocess.run(
        command, cwd=source, env=environment, timeout=TIMEOUT_SECONDS, capture_output=True, text=True, check=False
    )
    print("\n".join(result.stdout.splitlines()[-200:]), flush=True)
    if not outcomes.exists():
        print(result.stderr)
        raise CannotCompareError(f"The tests could not be run on the provider of {provider}.")
    written = json.loads(outcomes.read_text(encoding="utf-8"))
    if written["provider"].split(".")[0] != provider or len(written["tests"]) < TESTS_MIN:
        raise CannotCompareError(f"{len(written['tests'])} tests were run on the provider of {written['provider']}.")
    tests: dict[str, str] = written["tests"]
    return tests


def check(sdk_version: str, table: dict[str, str]) -> bool:
    """Compare on the SDK of this version, and say what came out."""
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(sdk_version, Path(folder) / "venv")
        source = fetch_tests(python, sdk_version, Path(folder))
        names_are_there = check_private_names(python)
        stock = run_tests(python, source, "opentelemetry", [HERE / "outcomes"])
        ours = run_tests(python, source, "otel_perfmon", [HERE / "outcomes", HERE / "ours"])
    comparison = compare(stock, ours, table)
    print(
        f"{SDK} {sdk_version}, {len(stock)} tests: {comparison.passed_on_stock} pass on its own provider,"
        f" {comparison.passed_on_ours} on ours, {len(comparison.listed)} listed as deviating"
    )
    for test in comparison.listed:
        print(f"  listed: {test}: {table[test]}")
    for test in comparison.deviating:
        print(f"  WRONG: {test} passes on the SDK's provider and not on ours")
    for test in comparison.needless:
        print(f"  WRONG: {test} is listed in deviations.py and does not deviate")
    return comparison.is_good and names_are_there


def check_private_names(python: Path) -> bool:
    """Whether this SDK has every private name that we touch."""
    names = ROOT / "tests" / "sdk" / "test_private_names.py"
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", "--noconftest", "-o", "addopts=--import-mode=importlib"]
    return subprocess.run([python, "-m", "pytest", *options, str(names)], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the SDK's own trace tests on our tracer provider.")
    parser.add_argument("--version", help="of the SDK; that of the installed one if not given")
    arguments = parser.parse_args()
    try:
        return 0 if check(arguments.version or version(SDK), DEVIATIONS) else 1
    except (CannotCompareError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
