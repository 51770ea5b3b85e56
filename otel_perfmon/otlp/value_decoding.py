"""Values and attributes of OTLP as Python's, with a note of what of them a row cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from otel_perfmon.query import INT64_MAX
from otel_perfmon.storage.attributes import Encoded, encode_attributes, storable_text

UNTOLD: Final = ""
"""The note that a row cannot tell something although nothing of it was cut."""
_UINT32_MAX: Final = (1 << 32) - 1
_pack_double = Struct("<d").pack
_NAN: Final = _pack_double(float("nan"))


class Notes(list[str]):
    """The parts of one item that were cut or replaced, each once, and `UNTOLD`; empty when its row tells all."""

    def add(self, part: str) -> None:
        """Note a part."""
        if part not in self:
            self.append(part)

    def text(self, clean: tuple[str, bool], part: str) -> str:
        """The text of a pair of text and whether it was changed, which is noted."""
        text, is_changed = clean
        if is_changed:
            self.add(part)
        return text

    def time(self, unix_nano: int) -> int:
        """The time, or the latest that can be stored."""
        if unix_nano > INT64_MAX:
            self.add("times")
        return min(unix_nano, INT64_MAX)

    @property
    def altered(self) -> str:
        """The parts that were cut, with commas."""
        return ",".join(filter(None, self))


def encode_pairs(pairs: Sequence[Any], part: str, notes: Notes) -> tuple[dict[str, Any], Encoded]:
    """Attributes, and their JSON."""
    attributes = decode_attributes(pairs, part, notes)
    encoded = encode_attributes(attributes)
    if encoded.is_altered:
        notes.add(part)
    return attributes, encoded


def decode_attributes(pairs: Sequence[Any], part: str, notes: Notes) -> dict[str, Any]:
    """The attributes; of two with one key the last, which is noted as a cut."""
    attributes = _decode_pairs(pairs, notes)
    if len(attributes) < len(pairs):
        notes.add(part)
    return attributes


def decode_value(value: Any, notes: Notes) -> Any:
    """What an ``AnyValue`` holds."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind is None:
        return None
    if kind == "array_value":
        return tuple([decode_value(each, notes) for each in value.array_value.values])
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        decoded = _decode_pairs(pairs, notes)
        if len(decoded) < len(pairs):
            notes.add(UNTOLD)
        return decoded
    found = getattr(value, kind)
    if kind == "double_value":
        note_odd_numbers(found, notes)
    if kind == "string_value_strindex":  # of profiles, whose table of texts is nowhere here
        notes.add(UNTOLD)
        return None
    return found


def note_odd_numbers(figures: Any, notes: Notes) -> None:
    """Note a NaN that is not the usual one, of which JSON knows but one; anywhere in objects and lists."""
    if isinstance(figures, float):
        if figures != figures and _pack_double(figures) != _NAN:  # noqa: PLR0124
            notes.add(UNTOLD)
    elif isinstance(figures, dict):
        for each in figures.values():
            note_odd_numbers(each, notes)
    elif isinstance(figures, list):
        for each in figures:
            note_odd_numbers(each, notes)


def _decode_pairs(pairs: Sequence[Any], notes: Notes) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for pair in pairs:
        value = decoded[pair.key] = decode_value(pair.value, notes)
        # A key in the table of texts that only profiles have; older versions of OTLP know of none.
        if (value is None and not pair.HasField("value")) or getattr(pair, "key_strindex", False):
            notes.add(UNTOLD)
    return decoded


def text_of(value: str, part: str, notes: Notes, characters_max: int | None = None) -> str:
    """A text as it can be stored."""
    return notes.text(storable_text(value) if characters_max is None else storable_text(value, characters_max), part)


def count_of(theirs: int, ours: int) -> int:
    """How much was dropped, on the way here and now."""
    return min(theirs + ours, _UINT32_MAX)
