"""A system without fork and fcntl, played in a child process."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="the real thing is tested by everything else")
def test_it_imports_records_and_answers_without_fork_and_fcntl(run_python, account):
    run_python("""
        import asyncio, logging, multiprocessing.util, os, random, shutil, sqlite3
        import subprocess, sys, tempfile, threading, types
        import concurrent.futures.thread
        import opentelemetry.sdk.metrics, opentelemetry.sdk.trace
        for name in ("register_at_fork", "fork", "getuid", "geteuid", "O_CLOEXEC", "O_NOFOLLOW", "waitpid"):
            if hasattr(os, name):
                delattr(os, name)
        held = set()
        def locking(descriptor, mode, size):
            is_lock = mode == 2
            if (descriptor in held) is is_lock:
                raise OSError(13, "Permission denied")
            (held.add if is_lock else held.discard)(descriptor)
        msvcrt = types.ModuleType("msvcrt")
        msvcrt.LK_NBLCK, msvcrt.LK_UNLCK, msvcrt.locking = 2, 0, locking
        sys.modules.update({"msvcrt": msvcrt, "fcntl": None, "resource": None, "pwd": None})
        sys.platform = "win32"
        from otel_perfmon import configure
        monitor = configure("metrics.db")
        for _ in range(50):
            with monitor.monitor("work"):
                pass
        assert monitor.storage.get_stats("work").count == 50
        monitor.shutdown()
        assert not held
        """)
    assert account().names == {"work": 50}
