"""``otel-perfmon run``: a program under the monitor, without a line of code.

The program takes the place of this command in its process, so that its exit status, its signals and its process id are
its own. What is to happen in it stands in its environment: see `otel_perfmon.launch`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from typing import Final, NoReturn

from otel_perfmon import launch
from otel_perfmon.cli import options
from otel_perfmon.config import PREFIX, resolve_config
from otel_perfmon.errors import QueryError

_FOLDER: Final = os.path.join(os.path.dirname(os.path.abspath(launch.__file__)), "path")
_EPILOG: Final = """\
examples:
  otel-perfmon run -- python app.py
  otel-perfmon run --db shop.db --slow 200ms -- gunicorn -w 4 shop:app
  otel-perfmon run --service shop -- python -m shop.worker --queue mail

What the program's libraries do becomes spans where their instrumentation packages
are installed: pip install opentelemetry-instrumentation-flask (or -django,
-requests, -sqlalchemy ...), and what it does itself by otel_perfmon.get_monitor()
or OpenTelemetry. Python processes that it starts are under the monitor too. All
settings can be given as environment variables (OTEL_PYTHON_PERFMON_...);
OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=flask,sqlite3 leaves some out, * all.
On a terminal the program ends with a line that says what was seen."""


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``."""
    parser.epilog = _EPILOG
    parser.usage = "%(prog)s [options] -- COMMAND [ARGUMENT ...]"
    options.add_db_option(parser)
    parser.add_argument("--service", metavar="NAME", help="service.name (default: $OTEL_SERVICE_NAME)")
    parser.add_argument(
        "--slow", metavar="DURATION", type=options.duration_ms, help="what takes longer is slow, such as 200ms"
    )
    parser.add_argument("--metrics", action="store_true", help="keep the points of its metric instruments too")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing at the end")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments")
    parser.set_defaults(run=_run_program)


def _run_program(arguments: argparse.Namespace) -> int:
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        raise QueryError("Name the program to run: otel-perfmon run -- python app.py")
    if os.path.basename(words[0]).startswith("opentelemetry-instrument"):
        raise QueryError(
            "opentelemetry-instrument sets OpenTelemetry up itself: give it OTEL_TRACES_EXPORTER=sqlite instead."
        )
    if words[0].endswith(".py") and os.path.isfile(words[0]) and not _names_its_interpreter(words[0]):
        words = [sys.executable, *words]
    program = shutil.which(words[0]) or shutil.which(os.path.join(os.curdir, words[0]))
    if program is None:
        message = f"There is no program {words[0]} to be run, or it may not be."
        raise QueryError(message)
    environment = _environment_of(arguments)
    if os.name == "nt":  # where no program can take the place of another
        return subprocess.run([program, *words[1:]], env=environment, check=False).returncode  # noqa: S603 - as asked
    return _become(program, words, environment)


def _names_its_interpreter(path: str) -> bool:
    """Whether the system can start a script by itself; on some disks every file may be executed."""
    if not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as script:
        return script.read(2) == b"#!"


def _environment_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment of the program. Raises `ConfigError` for a setting that is wrong, here or in ours."""
    config = resolve_config({"path": arguments.db, "slow_threshold_ms": arguments.slow})
    environment = {**os.environ, f"{PREFIX}PATH": config.path}  # absolute: the program may go to another folder
    if arguments.slow is not None:
        environment[f"{PREFIX}SLOW_THRESHOLD_MS"] = repr(arguments.slow)
    if arguments.service:
        environment["OTEL_SERVICE_NAME"] = arguments.service
    if arguments.metrics:
        environment["OTEL_PYTHON_METER_PROVIDER"] = "perfmon"
    environment["_OTEL_PERFMON_RUN"] = "quiet" if arguments.quiet else "tell"
    search_path = environment.get("PYTHONPATH")
    behind = [path for path in search_path.split(os.pathsep) if path != _FOLDER] if search_path else []
    environment["PYTHONPATH"] = os.pathsep.join([_FOLDER, *behind])
    return environment


def _become(program: str, words: list[str], environment: dict[str, str]) -> NoReturn:
    for name in ("SIGPIPE", "SIGXFSZ"):  # which Python ignores, and a program would inherit
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execve(program, words, environment)  # noqa: S606 - as asked
