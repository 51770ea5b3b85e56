"""Which names announce a secret: of attributes, of headers, of variables and parameters within texts.

A name is taken apart into words (``x-apiKey`` is x, api, key), so that ``tokenizer``, ``monkey`` and ``author`` are no
secrets, and what it ends with decides: ``password`` is one, ``password_length`` is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

HARMLESS: Final = 0
MAYBE: Final = 1
"""A secret if what stands under it looks like one: ``key``, ``session``, ``signature``."""
LIKELY: Final = 2
"""A secret in a query, and where it is neither a number nor a word: ``token``, ``pass``."""
SECRET: Final = 3
"""A secret unless it is a number, which counts them: ``cookies``, ``session_id``."""
CERTAIN: Final = 4
"""A secret even where it is a number: ``password``, ``api_key``."""
KEYWORDS: Final = (
    *("pass", "pwd", "secret", "token", "auth", "cookie", "sess", "cred", "key", "srf", "sid"),
    *("jwt", "pw", "psw", "sig", "cvv", "cvc", "bearer", "private", "access"),
)
"""A name that is no secret by the rules below has none of these in it, in whatever case."""
NAME_MAX: Final = 128
"""Characters; of a longer name its end is looked at."""

_words = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+").findall
_PASSWORDS: Final = ("password", "passwords", "passwd", "passphrase", "passcode", "pwd", "psw", "pswd", "cvv", "cvc")
_CERTAIN_ENDINGS: Final = (*_PASSWORDS, "secret", "apikey", "privatekey", "secretkey", "accesskey")
_ENDINGS: Final = ("secrets", "authorization", "cookie", "cookies", "sessionid", "sessid")
"""A word that ends so is a secret's, whatever stands before it."""
_HASHES: Final = ("hash", "digest")
"""Of a password, from which it can be guessed."""
_MAYBE: Final = frozenset(
    (
        "session",
        "auth",
        "credential",
        "credentials",
        "creds",
        "jwt",
        "bearer",
        "signature",
        "sig",
        "sid",
        "private",
    )
)
_SECRET_KEYS: Final = frozenset(
    (
        *("api", "private", "secret", "access", "encryption", "encrypt", "decryption", "signing", "sign", "auth"),
        *("account", "shared", "master", "session", "ssh", "service", "client", "consumer", "app", "application"),
        *("subscription", "deploy", "webhook", "license", "admin", "root", "hmac", "aes", "rsa", "symmetric", "bearer"),
    )
)
"""Of what a key is a secret."""
_CERTAIN_KEYS: Final = frozenset(("api", "private", "secret", "access", "encryption", "signing", "master"))
_CERTAIN_TOKENS: Final = frozenset(
    (
        *("access", "api", "auth", "authentication", "bearer", "csrf", "login", "mfa", "otp", "refresh", "reset"),
        *("secret", "security", "session", "totp", "verification", "xsrf"),
    )
)
"""What a token is for that is a secret even where it is a number."""
_HARMLESS_KEYS: Final = frozenset(
    (
        *("primary", "foreign", "partition", "sort", "routing", "cache", "object", "message", "public", "idempotency"),
        *("dedup", "deduplication", "group", "hash", "lookup", "map", "dict", "row", "column", "unique", "composite"),
        *(
            "index",
            "bucket",
            "s",
            "flag",
            "ordering",
            "feature",
            "redis",
            "kafka",
            "event",
            "translation",
            "order",
            "hot",
            "host",
            "issue",
            "lock",
        ),
        *("shard", "cluster", "storage", "item", "document", "record", "entity", "etag", "cursor", "range", "label"),
    )
)
_HARMLESS_TOKENS: Final = frozenset(
    (
        *("page", "next", "previous", "prev", "continuation", "pagination", "cancel", "cancellation", "stop", "eos"),
        *("bos", "pad", "unk", "mask", "first", "last", "output", "input", "per", "prompt", "completion", "max", "min"),
        *("unexpected", "special", "end", "start", "lex", "parser", "syntax", "sync", "skip", "resume", "cursor"),
    )
)
_SAYING_NOTHING: Final = frozenset(
    (
        *(
            "value",
            "values",
            "string",
            "str",
            "text",
            "raw",
            "plain",
            "plaintext",
            "current",
            "new",
            "old",
            "b",
            "base",
        ),
        *("confirmation", "confirm", "again", "repeat", "repeated", "retype"),
    )
)
"""What may stand behind the word that decides, as digits may: those of base64, too."""


def words_of(name: str) -> list[str]:
    """The words of a name, in lower case."""
    return [word.lower() for word in _words(name[-NAME_MAX:])]


def weight_of(name: str) -> int:
    """`CERTAIN`, `SECRET`, `LIKELY`, `MAYBE` or `HARMLESS`: what stands under that name."""
    words = words_of(name)
    while len(words) > 1 and (words[-1] in _SAYING_NOTHING or words[-1].isdigit()):
        words.pop()
    if not words:
        return HARMLESS
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last.endswith(_CERTAIN_ENDINGS) or (last in _HASHES and before.endswith(_PASSWORDS)):
        return CERTAIN
    if last.endswith(_ENDINGS):
        return SECRET
    if last in _MAYBE:
        return MAYBE
    if last == "key":
        return _weight_of_key(words[-3] if before.isdigit() and len(words) > 2 else before)  # noqa: PLR2004 - s3.key
    if last.endswith(("token", "tokens")):
        return _weight_of_token(last, before)
    if last in {"pass", "pw"}:
        return SECRET if before and last == "pw" else LIKELY
    if last in {"id", "accessid"}:
        return SECRET if before in {"session", "sess"} else MAYBE if before == "access" or last != "id" else HARMLESS
    return HARMLESS


def _weight_of_key(before: str) -> int:
    if before in _SECRET_KEYS:
        return CERTAIN if before in _CERTAIN_KEYS else SECRET
    return HARMLESS if not before or before in _HARMLESS_KEYS else MAYBE


def _weight_of_token(last: str, before: str) -> int:
    if last == "tokens":  # most are counted
        return LIKELY if not before else SECRET if before in _CERTAIN_TOKENS else HARMLESS
    if last == "token" and before in _CERTAIN_TOKENS:
        return CERTAIN
    if last.endswith("tokens") or (last == "token" and before in _HARMLESS_TOKENS):
        return HARMLESS
    return SECRET if before or last != "token" else LIKELY


def has_run_of(words: Sequence[str], run: Sequence[str]) -> bool:
    """Whether ``run`` stands in ``words``, one word after the other."""
    count = len(run)
    return any(words[start : start + count] == run for start in range(len(words) - count + 1))
