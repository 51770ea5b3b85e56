"""Texts that differ in their digits only, as messages with a number in them do: one is looked at for all of them.

Where a text has no name of a secret in it, no long word and nothing else that belongs to one, other digits make no
secret of it either, unless they are enough for a card's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from otel_perfmon.redaction.finding import has_card_digits, has_digits_enough, has_signs
from otel_perfmon.redaction.pieces import pieces_of_json

_MAX: Final = 4_096
"""Shapes that are remembered."""
_TEXT_MAX: Final = 512
"""Characters of a text that is told by its shape."""
_to_zeros: Final = bytes(ord("0") if each in b"123456789" else each for each in range(256))


class Shapes:
    """Tells texts whose shape is known to be harmless. One thread at a time; of other shapes it keeps hashes only.

    ``weigh`` and ``needles`` are those of `assignments.find_names`.
    """

    def __init__(self, weigh: Callable[[str], int], needles: Sequence[bytes] = ()) -> None:
        self._weigh = weigh
        self._needles = [needle.translate(_to_zeros) for needle in needles]
        self._harmless: dict[bytes, bool] = {}
        self._seen: set[int] = set()
        self._odd: set[int] = set()

    def find_unknown(self, texts: Iterable[str]) -> set[str]:
        """Those of the texts that are not known to be harmless."""
        return {text for text in texts if len(text) > _TEXT_MAX or not self._is_harmless(text)}

    def _is_harmless(self, text: str) -> bool:
        data = text.encode("latin-1", "replace")
        shape = data.translate(_to_zeros)
        has_digits = self._harmless.get(shape)
        if has_digits is None:
            self._meet(shape)
            return False
        return not (has_digits and has_card_digits(data))

    def _meet(self, shape: bytes) -> None:
        """Learn of a shape when it comes for the second time: most never do."""
        mark = hash(shape)
        if mark in self._odd:
            return
        if mark not in self._seen:
            _add(self._seen, mark)
            return
        lines = "\n".join(pieces_of_json(shape.decode("latin-1"))).encode("latin-1")
        if has_signs(lines, self._weigh, self._needles):
            _add(self._odd, mark)
            return
        if len(self._harmless) >= _MAX:
            self._harmless.clear()
        self._harmless[shape] = has_digits_enough(lines)


def _add(marks: set[int], mark: int) -> None:
    if len(marks) >= _MAX:
        marks.clear()
    marks.add(mark)
