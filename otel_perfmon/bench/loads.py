"""Threads that keep the CPU busy, as a program's own work does while it is monitored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BUSY_THREADS: Final = 4


@contextmanager
def cpu_bound_threads(count: int = BUSY_THREADS) -> Iterator[None]:
    """A block beside which ``count`` threads hold the GIL for as long as the interpreter lets them."""
    is_over = threading.Event()

    def spin() -> None:
        while not is_over.is_set():
            sum(range(500))

    threads = [threading.Thread(target=spin, name=f"busy-{number}", daemon=True) for number in range(count)]
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        is_over.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
