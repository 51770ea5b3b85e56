"""Which texts are worth a closer look, told quickly by what was looked at before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from otel_perfmon.redaction.finding import find_suspicious
from otel_perfmon.redaction.memory import Memory
from otel_perfmon.redaction.pieces import (
    FRAME,
    FRAME_IN_JSON,
    find_plain,
    has_frames_apart,
    parts_of,
    pieces_of,
    pieces_of_json,
)
from otel_perfmon.redaction.shapes import Shapes

_CLEAN_MAX: Final = 8_192
_CLEAN_TEXT_MAX: Final = 256
"""Pieces of text that are remembered as clean, and the characters of one: keys, and values that come again."""
_BAD_MAX: Final = 4_096
_FRESH_MAX: Final = 4
"""Parts of a text, on average, that are told by their shape: the others of a stack that was met are known as they are.
"""


class Suspicion:
    """Tells texts in which there may be a secret. One thread at a time: it remembers what was clean.

    Of pieces and frames that were not it keeps hashes or nothing. ``weigh`` and ``needles`` are those of
    `assignments.find_names`.
    """

    def __init__(self, weigh: Callable[[str], int], needles: Sequence[bytes] = ()) -> None:
        self._weigh = weigh
        self._needles = needles
        self._has_frames = has_frames_apart(needles)
        self._clean = Memory(_CLEAN_MAX, _CLEAN_TEXT_MAX)
        self._clean_frames = Memory()
        self._bad: set[int] = set()
        self._shapes = Shapes(weigh, needles)

    def find_suspects(self, texts: Sequence[str]) -> list[int]:
        """The numbers of the texts (JSON or not) that are worth a closer look; quickly, of many.

        What stands between quotes and line ends is looked at once, however often it comes, and so is a stack's frame.
        """
        joined = "\n".join(texts)
        if "\\" not in joined:
            return self._find_suspects(texts, joined)
        plain = find_plain(texts)
        if not plain:
            return self._find_suspects(texts, joined)
        others = list(texts)
        for number in plain:  # whose backslashes are no escapes
            others[number] = ""
        suspects = self._find_suspects(others, "\n".join(others))
        return sorted([*suspects, *(number for number in plain if self.is_suspect(texts[number]))])

    def is_suspect(self, text: str) -> bool:
        """Whether a text, not as JSON writes it, is worth a closer look."""
        if text in self._clean.texts:
            return False
        if hash(text) in self._bad:
            return True
        if FRAME in text and "\\" not in text and self._has_frames:  # else a frame could be another one in JSON
            parts = parts_of(text)
            if len(parts) > 1:
                return bool(self._bad_frames(self._fresh_frames([parts])))
        return bool(self._bad_pieces(pieces_of(text)))

    def _find_suspects(self, texts: Sequence[str], joined: str) -> list[int]:
        """As `find_suspects`, of texts whose backslashes are JSON's escapes."""
        if self._has_frames and FRAME_IN_JSON in joined:
            fresh = self._fresh_frames(parts_of(text, FRAME_IN_JSON) for text in texts)
            if len(fresh) <= _FRESH_MAX * len(texts):
                fresh = self._shapes.find_unknown(fresh)
            bad = self._bad_frames(fresh)
            if not bad:
                return []
            return [n for n, text in enumerate(texts) if text and not bad.isdisjoint(parts_of(text, FRAME_IN_JSON))]
        bad = self._bad_pieces(pieces_of_json(joined))
        if not bad:
            return []
        return [number for number, text in enumerate(texts) if text and not bad.isdisjoint(pieces_of_json(text))]

    def _fresh_frames(self, texts: Iterable[Sequence[str]]) -> set[str]:
        """The parts of texts, divided where frames begin, that are not known to be clean."""
        fresh: set[str] = set()
        for frames in texts:  # one by one: what is known is let go before the next is divided
            fresh.update(frames)
        fresh -= self._clean_frames.texts
        return fresh

    def _bad_frames(self, fresh: set[str]) -> set[str]:
        """Those of the parts that a secret may stand in."""
        if not fresh:
            return fresh
        pieces = self._bad_pieces(pieces_of_json("\n".join(fresh)))
        bad = {frame for frame in fresh if not pieces.isdisjoint(pieces_of_json(frame))} if pieces else set()
        self._clean_frames.remember(fresh - bad)
        return bad

    def _bad_pieces(self, pieces: Iterable[str]) -> set[str]:
        """Those of the pieces of texts that a secret may stand in or behind."""
        fresh = set(pieces)
        fresh -= self._clean.texts
        if not fresh:
            return fresh
        bad = {piece for piece in fresh if hash(piece) in self._bad} if self._bad else set()
        ordered = list(fresh - bad) if bad else list(fresh)
        if not ordered:
            return bad
        bad.update(ordered[number] for number in find_suspicious(ordered, self._weigh, self._needles))
        self._clean.remember(piece for piece in ordered if piece not in bad)
        if len(self._bad) > _BAD_MAX:
            self._bad.clear()
        self._bad.update(map(hash, bad))
        return bad
