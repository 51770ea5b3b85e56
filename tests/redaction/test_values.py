from __future__ import annotations

import json
import random
import string

import pytest

from otel_perfmon.redaction.redaction import Redaction
from otel_perfmon.redaction.values import is_id, is_nothing

PLACEHOLDERS = (
    *("$PASSWORD", "${DB_PASSWORD}", "${{ secrets.TOKEN }}", "$(cat token.txt)", "$1", "{{ password }}", "{{x}}"),
    *("%(password)s", "%s", "%PASSWORD%", "{password}", "{self.password!r}", "<your token>", "<EOF>", "<class 'str'>"),
    *("***", "********", "xxxx", "[redacted]", "[hidden]", "(masked)", ""),
)
SECRETS = (
    *("$PoT?}q:IZl],<}&", "</^\\d4~d*D8w'bCr", "%(hunter2", "{{hunter2", "${a}b", "$A-b", "<a>b", "<a!b>", "{a}b"),
    *("${PASSWORD:-hunter2}", "%(a)sb", "@{a", "$2b$12$abcdefgh", "***x"),
)


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_what_stands_for_a_secret_is_nothing_as_a_whole(value):
    assert is_nothing(value)


@pytest.mark.parametrize("value", SECRETS)
def test_a_secret_that_begins_as_a_placeholder_does_is_none(value):
    assert not is_nothing(value)
    assert Redaction().redact_json(json.dumps({"password": value})) == '{"password":"[redacted]"}'


def test_of_twenty_thousand_random_passwords_none_is_taken_for_a_placeholder():
    chosen = random.Random(20_000)
    characters = string.ascii_letters + string.digits + string.punctuation
    passwords = ["".join(chosen.choices(characters, k=16)) for _ in range(20_000)]
    assert [password for password in passwords if is_nothing(password)] == []


@pytest.mark.parametrize("value", ["{kind}DecisionAttributesOf{name}", "{namespace_key}:{prefix}", "{a.b()!r}Response"])
def test_what_a_template_fills_in_makes_no_secret_of_it_but_what_stands_around_may_be_one(value):
    redaction = Redaction()
    assert redaction.redact_text(f'mail_key = "{value}"') == f'mail_key = "{value}"'
    assert redaction.redact_text(f'mail_key = "{value}Zq9kV001pLx7"') == 'mail_key = "[redacted]"'
    assert redaction.redact_text(f'password = "{value}"') == 'password = "[redacted]"'


def test_a_uuid_is_an_id():
    assert is_id("0195f3a0-c1b2-73e4-8f50-61728394a5b6")
    assert not is_id("0195f3a0-c1b2-73e4-8f50")
