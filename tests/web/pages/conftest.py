"""Puts the kit of the store's tests on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent.parent.parent / "storage"))
