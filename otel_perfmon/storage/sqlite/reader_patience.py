"""How long a checkpoint of the log waits for who reads, with the lock held.

A reader in mid-question holds it up, and we come back later. But where there is always one, as of many pages that are
live, we would never get through, and the log would grow for ever. So the further it has grown beyond what it should
have, the longer readers are waited for. Those that begin meanwhile see the newest state, and hold nothing up.
"""

from __future__ import annotations

from typing import Final

_LEAST_MS: Final = 20
_MOST_MS: Final = 2_000
"""The others that write wait too; their queues hold more than that."""


def patience_ms(log_bytes: float, log_max_bytes: float) -> int:
    """How long to wait when the log has so many bytes, and should have no more than ``log_max_bytes``."""
    excess = max(1.0, log_bytes / log_max_bytes)
    return min(_MOST_MS, round(_LEAST_MS * excess**2))
