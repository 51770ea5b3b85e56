"""Files that older versions wrote, and the answers that they gave of them."""

from __future__ import annotations

import json
import lzma
from functools import cache
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"


@cache
def _unpacked(name: str) -> bytes:
    return lzma.decompress((FIXTURES / f"{name}.xz").read_bytes())


def write_old_file(path: str, name: str = "schema_1") -> None:
    Path(path).write_bytes(_unpacked(f"{name}.db"))


@cache
def old_answers(name: str = "schema_1") -> dict[str, Any]:
    return json.loads(_unpacked(f"{name}.json"))
