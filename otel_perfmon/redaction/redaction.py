"""What is taken out of texts and attributes before they are kept: a value, made of the defaults and the user's own."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from otel_perfmon.redaction import assignments, messages, names, tokens, values
from otel_perfmon.redaction.frames import Frames
from otel_perfmon.redaction.names import CERTAIN, HARMLESS, LIKELY, MAYBE, NAME_MAX, SECRET
from otel_perfmon.redaction.patterns import Found, compile_pattern, find_all
from otel_perfmon.redaction.suspicion import Suspicion
from otel_perfmon.redaction.values import MARKER

_REDACTED_MAX: Final = 1_024
_REDACTED_TEXT_MAX: Final = 1_024
"""Texts that are remembered with what was made of them, and the characters of one."""
_WEIGHTS_MAX: Final = 4_096
_is_plain_name = re.compile(r"[\w.\-]{1,64}").fullmatch
_INT_MIN: Final = 10**12
_INT_MAX: Final = 10**19
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_escaped = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


class Redaction:
    """Finds secrets and puts `MARKER` in their place. One thread at a time: it remembers what was clean, within bounds.

    ``keys`` are more names whose values are secrets, wherever their words stand in a name (``tax id`` is found in
    ``customer.taxId``); ``patterns`` regular expressions of secrets (of one with a group named ``secret``, that group).
    Raises `ValueError` for a pattern that is wrong or could take too long.
    """

    def __init__(self, keys: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._runs = [run for run in map(names.words_of, keys) if run]
        self._patterns = [compile_pattern(pattern) for pattern in patterns]
        needles = [max(run, key=len).encode("latin-1", "replace") for run in self._runs]
        self._weights: dict[str, int] = {}
        self._suspicion = Suspicion(self.weight_of, needles)
        self._frames = Frames(self.weight_of, needles)
        self._redacted: dict[str, str] | None = None

    def find_suspects(self, texts: Sequence[str]) -> list[int]:
        """The numbers of the texts (JSON or not) that are worth a closer look; quickly, of many."""
        if self._patterns:
            return [number for number, text in enumerate(texts) if text]
        return self._suspicion.find_suspects(texts)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """While it lasts, a text with secrets that comes again is redacted once; then such texts are forgotten.

        A message stands in a span's status, in its event and in its stack.
        """
        self._redacted = {}
        try:
            yield
        finally:
            self._redacted = None

    def redact_text(self, text: str) -> str:
        """The text without its secrets; the same object when there are none."""
        if self._redacted is not None and text in self._redacted:
            return self._redacted[text]
        if not self._patterns and not (text and self._suspicion.is_suspect(text)):
            return text
        found = self._frames.find_secrets(text)
        if self._patterns:
            found += find_all(self._patterns, text)
        if not found:
            return text
        clean = _without(sorted(found), text)
        self._remember(text, clean)
        return clean

    def redact_json(self, text: str) -> str:
        """JSON text (attributes, events, links) without its secrets; the same object when there are none."""
        try:
            value = json.loads(text)
            clean = self._without_secrets(value)
            return text if clean is value else _dump(clean)
        except ValueError:  # none that this program wrote
            return self.redact_text(text)

    def is_secret_in(self, message: bytes) -> bool:
        """Whether a message of protobuf has a secret anywhere, or is such that nobody can tell."""
        try:
            text = _dump(messages.say(message))
        except (ValueError, RecursionError):
            return True
        return bool(self.find_suspects([text])) and self.redact_json(text) != text

    def weight_of(self, name: str) -> int:
        """How much of a secret stands under a name; see `names`."""
        found = self._weights.get(name)
        if found is None:
            found = self._weigh(name)
            if _is_plain_name(name):  # no other is remembered: it may be a text with a secret in it
                if len(self._weights) >= _WEIGHTS_MAX:
                    self._weights.clear()
                self._weights[name] = found
        return found

    def _weigh(self, name: str) -> int:
        weight = names.weight_of(name)
        if weight == CERTAIN or not self._runs:
            return weight
        words = names.words_of(name)
        return CERTAIN if any(names.has_run_of(words, run) for run in self._runs) else weight

    def _remember(self, text: str, clean: str) -> None:
        remembered = self._redacted
        if remembered is not None and len(text) <= _REDACTED_TEXT_MAX and len(remembered) < _REDACTED_MAX:
            remembered[text] = clean

    # --- decoded JSON

    def _without_secrets(self, value: Any, weight: int = HARMLESS) -> Any:
        """A decoded JSON value without its secrets; the same object when there are none."""
        kind = type(value)
        if kind is str:
            return self._clean_text(value, weight)
        if kind is dict:
            return self._clean_mapping(value, weight)
        if kind is list:
            return self._clean_list(value, weight)
        if kind is int and (weight == CERTAIN or (_INT_MIN < value < _INT_MAX and tokens.is_card(str(value)))):
            return MARKER
        return MARKER if kind is float and weight == CERTAIN else value

    def _clean_text(self, text: str, weight: int) -> str:
        if weight and not values.is_nothing(text) and (weight >= SECRET or values.is_opaque(text)):
            return MARKER
        if weight == LIKELY and values.is_mixed(text):
            return MARKER
        return self.redact_text(text)

    def _clean_mapping(self, mapping: dict[str, Any], weight: int) -> Any:
        if len(mapping) == 1 and type(mapping.get("@bytes")) is str:
            return MARKER if self._is_secret_bytes(mapping["@bytes"], weight) else mapping
        changed: dict[str, Any] = {}
        named = self._weight_of_named(mapping) if len(mapping) > 1 else HARMLESS
        for key, value in mapping.items():
            own = named if named and key.lower() == "value" else self.weight_of(key)
            clean = self._without_secrets(value, max(weight, own))
            if clean is not value:
                changed[key] = clean
        return self._clean_keys({**mapping, **changed} if changed else mapping)

    def _weight_of_named(self, mapping: dict[str, Any]) -> int:
        """Of what stands under ``value`` in a mapping that has its name, too: variables, form fields, headers."""
        found = (mapping[key] for key in mapping if key.lower() in assignments.NAMES_OF_NAMES)
        weights = (self.weight_of(name) for name in found if type(name) is str and len(name) <= NAME_MAX)
        return max(weights, default=HARMLESS)

    def _clean_keys(self, mapping: dict[str, Any]) -> dict[str, Any]:
        """Names that are secrets themselves, such as a token by which something was counted."""
        if all(self.redact_text(key) is key for key in mapping):
            return mapping
        return {self.redact_text(key): value for key, value in mapping.items()}

    def _clean_list(self, items: list[Any], weight: int) -> list[Any]:
        """Items, among them arguments of a command: the one behind ``--password`` is one."""
        weights = (max(weight, self._weight_behind(items, number)) for number in range(len(items)))
        clean = list(map(self._without_secrets, items, weights))
        return items if all(new is old for new, old in zip(clean, items, strict=True)) else clean

    def _weight_behind(self, items: list[Any], number: int) -> int:
        before = items[number - 1] if number else None
        if number == 1 and len(items) == 2 and type(before) is type(items[1]) is str:  # noqa: PLR2004 - a pair
            weight = self.weight_of(before) if len(before) <= NAME_MAX else HARMLESS
            if weight >= SECRET and assignments.is_pair(before, items[1]):
                return weight
        if type(before) is not str or not before.startswith("-") or len(before) > NAME_MAX or not _is_flag(before):
            return HARMLESS
        return self.weight_of(before)

    def _is_secret_bytes(self, encoded: str, weight: int) -> bool:
        if weight >= SECRET:
            return bool(encoded)
        try:
            text = base64.b64decode(encoded).decode("latin-1")
        except (ValueError, binascii.Error):
            return False
        return (MAYBE <= weight < SECRET and values.is_opaque(text)) or self.redact_text(text) is not text


def _is_flag(text: str) -> bool:
    return "=" not in text and " " not in text


def _without(places: Iterable[Found], text: str) -> str:
    """The text with `MARKER` in the place of what stands at each of the sorted places."""
    parts: list[str] = []
    done = 0
    for start, end in places:
        if end <= done:
            continue
        if start >= done:
            parts += (text[done:start], MARKER)
        done = end
    return "".join((*parts, text[done:]))


def _dump(value: Any) -> str:
    text = _encode(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which stays escaped
        return _encode_escaped(value)
    return text
