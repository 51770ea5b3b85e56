"""Run the SDK's own trace tests on the SDK's tracer provider and on ours, and compare test by test.

    python tests/conformance/run.py [--version 1.45.0]

The tests come with the SDK's source distribution, which is downloaded into a temporary folder. Without ``--version``
the SDK is the installed one, and ``pip install '.[conformance]'`` has brought what its tests need; with it, the
SDK of that version is installed together with this project into a virtual environment of its own.

Ends with 0 when everything that passes on the SDK's provider passes on ours, but for the table in `deviations`; with 1
when something does not; with 2 when that could not be found out, as without a network. It is not collected by pytest,
whose tests need no network.
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


def fetch_tests(sdk_version: str, folder: Path) -> Path:
    """The unpacked source distribution of the SDK."""
    # Only the SDK as source: with ":all:" what builds it would be built from source too.
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", SDK, f"{SDK}=={sdk_version}"]
    if subprocess.run(command, cwd=folder, check=False).returncode != 0:
        message = f"The source distribution of {SDK} {sdk_version} could not be downloaded; what pip says stands above."
        raise CannotCompareError(message)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def run_tests(source: Path, provider: str, python_path: list[Path]) -> dict[str, str]:
    """The outcome of each of the SDK's tests, on the provider that this path gives."""
    outcomes = source / f"{provider}.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTEST_"))}
    environment |= {
        "CONFORMANCE_OUTCOMES": str(outcomes),
        # Some of the tests start "python" and mean this one.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join([*map(str, python_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    print(f"== {SDK} {version(SDK)}: the tests of its source distribution on the provider of {provider}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--rootdir=.", "-p", "no:cacheprovider"]
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


def check_installed(table: dict[str, str]) -> int:
    """Compare on the installed SDK, and say what came out."""
    with tempfile.TemporaryDirectory() as folder:
        source = fetch_tests(version(SDK), Path(folder))
        stock = run_tests(source, "opentelemetry", [HERE / "outcomes"])
        ours = run_tests(source, "otel_perfmon", [HERE / "outcomes", HERE / "ours"])
    comparison = compare(stock, ours, table)
    print(
        f"{SDK} {version(SDK)}, {len(stock)} tests: {comparison.passed_on_stock} pass on its own provider,"
        f" {comparison.passed_on_ours} on ours, {len(comparison.listed)} listed as deviating"
    )
    for test in comparison.listed:
        print(f"  listed: {test}: {table[test]}")
    for test in comparison.deviating:
        print(f"  WRONG: {test} passes on the SDK's provider and not on ours")
    for test in comparison.needless:
        print(f"  WRONG: {test} is listed in deviations.py and does not deviate")
    return 0 if comparison.is_good else 1


def check_version(sdk_version: str) -> int:
    """The same in a virtual environment that has the SDK of this version."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        install = [python, "-m", "pip", "install", "-q", f"{ROOT}[conformance]", f"{SDK}=={sdk_version}"]
        if subprocess.run(install, check=False).returncode != 0:
            raise CannotCompareError(f"{SDK} {sdk_version} could not be installed; what pip says stands above.")
        return subprocess.run([python, __file__], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the SDK's own trace tests on our tracer provider.")
    parser.add_argument("--version", help="of the SDK; the installed one if not given")
    arguments = parser.parse_args()
    try:
        if arguments.version is None:
            return check_installed(DEVIATIONS)
        return check_version(arguments.version)
    except (CannotCompareError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
