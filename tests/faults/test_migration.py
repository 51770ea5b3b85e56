"""A process that is killed while it brings an old file up to date: the file is the old one, or the new one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORAGE_TESTS = Path(__file__).parents[1] / "storage" / "sqlite"

KILL_AT_EACH_STATEMENT = """
import json, os, signal, sqlite3, sys
from contextlib import closing
from fixtures_kit import old_answers, write_old_file
from otel_perfmon.storage.sqlite import schema
from otel_perfmon.storage.sqlite.connection import open_writer

with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
    schema._run(model, 0, 1)
    old = schema.objects_of(model)
    schema._run(model, 1, schema.SCHEMA_VERSION)
    new = schema.objects_of(model)

def die_after(path, statements):
    left = [statements]
    def count():
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    open_writer(path, count).close()
    os._exit(0)

found = {"killed": 0, "old": 0, "new": 0, "wrong": 0}
statements = 0
while True:
    path = os.path.abspath(f"{statements}.db")
    write_old_file(path)
    pid = os.fork()
    if pid == 0:
        die_after(path, statements)
    was_killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        is_sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count = connection.execute("SELECT count(*) FROM _spans").fetchone()[0]
        objects = schema.objects_of(connection)
    is_whole = objects == (old if version == 1 else new)
    found["wrong"] += not (is_sound and is_whole and count == 448 and version in (1, schema.SCHEMA_VERSION))
    found["old" if version == 1 else "new"] += 1
    with closing(open_writer(path)) as connection:
        found["wrong"] += schema.objects_of(connection) != new
        found["wrong"] += connection.execute("SELECT count(*) FROM _spans").fetchone()[0] != 448
    os.unlink(path)
    if not was_killed:
        break
    found["killed"] += 1
    statements += 1
print(json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_killed_at_any_statement_of_a_migration_leaves_the_old_file_or_the_new_one(tmp_path, figure):
    result = subprocess.run(
        [sys.executable, "-c", KILL_AT_EACH_STATEMENT],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(STORAGE_TESTS)}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    figure("SIGKILL at each statement of a migration: killed, old files, new files, wrong",
           f"{found['killed']}, {found['old']}, {found['new']}, {found['wrong']}", "0 wrong")  # fmt: skip
    assert found["killed"] > 60
    assert found["wrong"] == 0
    assert found["old"] > 60
    assert found["new"] >= 1
