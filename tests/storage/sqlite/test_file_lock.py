from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, closing

import pytest
from storage_kit import child_process, held_by_another_process, let_go

from otel_perfmon.errors import StoreBusyError
from otel_perfmon.storage.sqlite.file_lock import FileLock


@pytest.fixture
def lock(db_path):
    with closing(FileLock(db_path + ".lock")) as lock:
        yield lock


def test_making_a_lock_touches_no_disk(lock):
    assert not os.path.exists(lock.path)


def test_a_lock_is_held_for_the_block_and_can_be_held_again(lock):
    with closing(FileLock(lock.path)) as other:
        for _ in range(3):
            with lock.held(1), pytest.raises(StoreBusyError), other.held(0):
                pass
            with other.held(0):
                pass


def test_an_error_in_the_block_frees_the_lock(lock):
    with pytest.raises(ZeroDivisionError), lock.held(1):
        raise ZeroDivisionError
    with closing(FileLock(lock.path)) as other, other.held(0):
        pass


def test_another_process_that_holds_it_is_waited_for_no_longer_than_allowed(lock, db_path):
    with held_by_another_process(db_path):
        for seconds in (0, 0.1):
            start = time.monotonic()
            with pytest.raises(StoreBusyError, match="another process is writing"), lock.held(seconds):
                pass
            assert seconds <= time.monotonic() - start < seconds + 0.3


def test_a_lock_is_had_soon_after_it_was_given_back(lock, db_path):
    with held_by_another_process(db_path) as child:
        timer = threading.Timer(0.2, let_go, [child])
        timer.start()
        start = time.monotonic()
        with lock.held(5):
            assert 0.1 < time.monotonic() - start < 1
        timer.join()


def test_a_process_that_is_killed_gives_its_lock_back(lock, db_path):
    with held_by_another_process(db_path) as child:
        child.kill()
        with lock.held(2):
            pass


def test_a_lock_file_that_was_deleted_still_excludes_whoever_makes_it_anew(lock):
    """As after ``rm metrics.db*`` beside a live process: two writers with two lock files would be no lock at all."""
    with lock.held(1):
        pass
    os.unlink(lock.path)
    with closing(FileLock(lock.path)) as other, other.held(1), pytest.raises(StoreBusyError), lock.held(0):
        pass


def test_the_lock_file_is_for_its_owner_only_whatever_the_umask(lock):
    before = os.umask(0)
    try:
        with lock.held(1):
            assert os.stat(lock.path).st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_symbolic_link_in_its_place_is_not_followed(lock, tmp_path):
    victim = tmp_path / "victim"
    os.symlink(victim, lock.path)
    with pytest.raises(OSError, match=r"."), lock.held(1):
        pass
    assert not victim.exists()


def test_it_is_not_inherited_by_a_program_that_is_started(lock):
    with lock.held(1), child_process("import os; print(sorted(os.listdir('/proc/self/fd')))") as child:
        assert str(lock._descriptor) not in eval(child.stdout.read())


def test_processes_exclude_one_another(lock, tmp_path):
    """Four processes add one to a number in a file, 100 times each."""
    number = tmp_path / "number"
    number.write_text("0")
    program = """
        import sys
        from pathlib import Path
        from otel_perfmon.storage.sqlite.file_lock import FileLock
        lock, number = FileLock(sys.argv[1]), Path(sys.argv[2])
        for _ in range(100):
            with lock.held(20):
                number.write_text(str(int(number.read_text()) + 1))
    """
    with ExitStack() as stack:
        children = [stack.enter_context(child_process(program, lock.path, str(number))) for _ in range(4)]
        assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    assert number.read_text() == "400"


def test_who_waits_for_one_that_goes_on_waits_longer_and_is_told_of_its_progress(db_path):
    told = []
    with (
        closing(FileLock(db_path + ".lock")) as other,
        closing(FileLock(db_path + ".lock", lambda: told.append(1))) as lock,
    ):
        is_done = threading.Event()

        def hold() -> None:
            with other.held(1):
                is_done.set()
                until = time.monotonic() + 1.5
                while time.monotonic() < until:
                    other.touch()
                    time.sleep(0.05)

        thread = threading.Thread(target=hold)
        thread.start()
        is_done.wait()
        with lock.held(0.6):
            pass
        thread.join()
    assert len(told) >= 5


def test_who_has_little_time_waits_no_longer_for_one_that_goes_on(db_path):
    with ExitStack() as stack:
        other, lock = (stack.enter_context(closing(FileLock(db_path + ".lock"))) for _ in range(2))
        stack.enter_context(other.held(1))
        with pytest.raises(StoreBusyError), lock.held(0.02):
            pass
