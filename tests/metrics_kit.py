"""The moment at which the clocks of the tests of metrics stand still."""

from __future__ import annotations

NOW = 1_790_000_000.0
