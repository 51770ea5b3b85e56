"""Which of the SDK's own tests may fail with our tracer provider, and why.

None is about behaviour that a user, a processor or an exporter can see.
"""

from __future__ import annotations

from typing import Final

DEVIATIONS: Final[dict[str, str]] = {}
