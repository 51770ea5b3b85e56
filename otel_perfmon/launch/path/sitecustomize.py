"""What a Python under ``otel-perfmon run`` does before its program: its folder is the first of ``PYTHONPATH``.

Python looks for a module of this name when it starts. The one that it would have found comes first, and this folder
stays in ``PYTHONPATH`` for the processes that the program starts, but not in ``sys.path``. Those may be of an older
Python: this file is understood from 3.6 on.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def _run_the_one_behind() -> None:
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _FOLDER]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = sys.modules["sitecustomize"] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # as Python itself takes it
        print(f"Error in sitecustomize: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201


def _begin() -> None:
    manner = os.environ.pop("_OTEL_PERFMON_RUN", "")  # of the program itself, not of what it starts
    if os.environ.get("OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH") == "patch_all":
        with suppress(ImportError):
            import_module("gevent.monkey").patch_all()  # before any lock is made
    try:
        from otel_perfmon.launch.program import begin  # noqa: PLC0415 - it may be missing
    except Exception as error:  # another Python's: it is not installed there, or needs a newer one
        if manner:
            problem = f"{sys.executable} cannot load otel_perfmon ({error}), so nothing is recorded."
            advice = f"Install it there: {sys.executable} -m pip install otel-perfmon"
            print(f"otel-perfmon: {problem} {advice}", file=sys.stderr)  # noqa: T201
        return
    search_path = os.environ.get("PYTHONPATH", "")
    behind = [path for path in search_path.split(os.pathsep) if path != _FOLDER]
    os.environ["PYTHONPATH"] = os.pathsep.join(behind)  # should what is loaded start a Python, that one begins nothing
    begin(is_told=manner == "tell")
    os.environ["PYTHONPATH"] = search_path


_run_the_one_behind()
_begin()
