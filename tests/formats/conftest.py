"""Puts this folder's kit on the path, and that of OTLP's tests: any span that the SDK can hold."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "otlp")]
