"""Lists, mappings and pairs behind a name, in texts."""

from __future__ import annotations

import pytest

from otel_perfmon.redaction.redaction import Redaction

R = "[redacted]"
TEXTS = {
    "auth=('bob', \"it's-s3cret\")": f"auth=('bob', \"{R}\")",
    "{'auth': ('bob', 'hunter2'), 'n': 1}": f"{{'auth': ('bob', '{R}'), 'n': 1}}",
    "auth=(self.user, 'say \"x\"')": f"auth=(self.user, '{R}')",
    'login("bob", \'say "x"\')': f"login(\"bob\", '{R}')",
    'log_in(user, "it\'s")': f'log_in(user, "{R}")',
    "login(users['bob'], b\"it's\")": f"login(users['bob'], b\"{R}\")",
    'IDENTIFIED BY "it\'s"': f'IDENTIFIED BY "{R}"',
    "passwords = [\"it's\", 'b']": f"passwords = [{R}]",
    "passwords = {'a': b\"it's\", 'b': 'c'}, n": f"passwords = {{'a': b{R}}}, n",
    "passwords=(b'S3CR3Tone',), n": f"passwords=(b'{R}',), n",
    "passwords = ([b'hunter2', 1.5],)": f"passwords = ([b'{R}', 1.5],)",
    "passwords = {'bob': 'abc123xyz'}": f"passwords = {{'bob': '{R}'}}",
    'secret = {"a": "hunter2x"}': f'secret = {{"a": "{R}"}}',
    'secret: {"n": 5, "a": "hunter2x", "b": "y"}, "user": "bob"': f'secret: {{"n": 5, "a": "{R}"}}, "user": "bob"',
    "secrets={'a': {'b': 'x1'}, 'user': 'bob'}": f"secrets={{'a': {{'b': '{R}'}}, 'user': 'bob'}}",
    r"{\"secret\": {\"a\": \"it's\"}}": r"{\"secret\": {\"a\": \"[redacted]\"}}",
    "tokens = {bob: 'Zq9kV001pLx7'}": f"tokens = {{bob: '{R}'}}",
}
HARMLESS = (
    *(
        "tokens = {'n': 5}",
        "password: {'type': 'string'}",
        "tokens = {'a': 'comma'}",
        "secret = {}",
        "secret = {'a': 5}",
    ),
    *("users = {'bob': 'abc123xyz'}", "secrets = {'a': 'password'}", "auth=(user, password)", "login(user, password)"),
    *("auth=('bob', '***')", "secret = {'a': '<token>'}"),
)


@pytest.mark.parametrize("text", TEXTS)
def test_what_stands_in_brackets_behind_a_secrets_name_goes(text):
    redaction = Redaction()
    assert redaction.redact_text(text) == TEXTS[text]
    assert redaction.redact_text(TEXTS[text]) == TEXTS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_brackets_without_a_secret_stay(text):
    assert Redaction().redact_text(text) is text
