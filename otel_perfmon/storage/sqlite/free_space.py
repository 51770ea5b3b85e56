"""Whether the disk has room for a batch, and for what frees room later."""

from __future__ import annotations

import os
import shutil
import time
from typing import Final

from otel_perfmon.errors import StoreFullError

FREE_SPACE_MIN_BYTES: Final = 8 * 1024 * 1024
"""Below this we stop writing: on a full disk neither DELETE nor a checkpoint works, so nothing could free it again."""
_LOOK_SECONDS: Final = 1.0


class FreeSpace:
    """The free space on the disk of one file, looked at each second at most."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._next_look = 0.0

    def check(self) -> None:
        """Raise `StoreFullError` where less than `FREE_SPACE_MIN_BYTES` are left."""
        now = time.monotonic()
        if now < self._next_look:
            return
        if shutil.disk_usage(os.path.dirname(self._path)).free < FREE_SPACE_MIN_BYTES:
            message = f"Less than {FREE_SPACE_MIN_BYTES >> 20} MiB are free on the disk of {self._path}."
            raise StoreFullError(message)
        self._next_look = now + _LOOK_SECONDS
