"""Headers of answers that only pages of our own may have, and nobody keep."""

from __future__ import annotations

from typing import Final

OURS_ALONE: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
