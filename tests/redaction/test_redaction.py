from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_perfmon.redaction.redaction import Redaction

GITHUB = "ghp_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpQIBAAKCAQEAn6\nabc\n-----END RSA PRIVATE KEY-----"
TEXTS = {
    "password=hunter2 is wrong": "password=[redacted] is wrong",
    "password: hunter2": "password: [redacted]",
    'connect(password="hun ter2", port=5)': 'connect(password="[redacted]", port=5)',
    "{'password': 'hunter2', 'user': 'ada'}": "{'password': '[redacted]', 'user': 'ada'}",
    '{"user": "ada", "access_token": "abc"}': '{"user": "ada", "access_token": "[redacted]"}',
    r"{\"password\": \"abc\", \"n\": 1}": r"{\"password\": \"[redacted]\", \"n\": 1}",
    "GET /login?user=ada&token=a1b2c3d4e5&next=/": "GET /login?user=ada&token=[redacted]&next=/",
    "mysql --password hunter2 shop": "mysql --password [redacted] shop",
    "tool --api-key=abc --verbose": "tool --api-key=[redacted] --verbose",
    "Authorization: Bearer abcdef123456": "Authorization: Bearer [redacted]",
    "sent Bearer abcdef123456 to it": "sent Bearer [redacted] to it",
    "Authorization: Basic dXNlcjpwYXNz": "Authorization: Basic [redacted]",
    "Cookie: a=b; c=d": "Cookie: [redacted]",
    "postgresql://ada:s3cr3t@db:5432/shop": "postgresql://ada:[redacted]@db:5432/shop",
    "amqp://ada:p@ss:w@rd@mq/x": "amqp://ada:[redacted]@mq/x",
    "redis://:s3cr3t@cache:6379/0": "redis://:[redacted]@cache:6379/0",
    f"pushed with {GITHUB}.": "pushed with [redacted]",
    f"token {JWT} expired": "token [redacted] expired",
    f"key:\n{PEM}\nend": "key:\n[redacted]\nend",
    PEM[:50]: "[redacted]",
    "paid by 4111 1111 1111 1111 today": "paid by [redacted] today",
    "paid by 5500-0000-0000-0004": "paid by [redacted]",
    "AKIAIOSFODNN7EXAMPLE": "[redacted]",
    "curl -u ada:hunter2 https://x": "curl -u ada:[redacted] https://x",
    'smtp.login("ada", "hunter2")': 'smtp.login("ada", "[redacted]")',
    "<password>hunter2</password>": "<password>[redacted]</password>",
    "naïve ключ password=größe1 конец": "naïve ключ password=[redacted] конец",
}
HARMLESS = (
    *("Unexpected token: <EOF> at line 3", "invalid token: expected ')'", "JSONDecodeError: Expecting value: line 1"),
    *(
        "KeyError: 'name'",
        "key=7",
        "cache_key=user:42:profile",
        "the password is wrong",
        "password: too short, try again",
    ),
    *("password=$PASSWORD", "password=${DB_PASSWORD}", "password=", "password=None", "token=null", "password=********"),
    *("    token = get_token(request)", "    self.password = self.settings.password", "    key = lambda row: row.id"),
    *(
        "session.execute(select(User))",
        "        session = Session()",
        "auth=self.auth",
        "def f(token: str, key: int = 3):",
    ),
    *(
        "order 4111111111111112",
        "id 1700000000000000000",
        "1795864515.052727",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
    ),
    *(
        "0195f3a0-c1b2-73e4-8f50-61728394a5b6",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    *(
        "https://example.com/a/b?page=3&sort=asc",
        "mail ada@example.com",
        "ssh://git@github.com/x/y.git",
        "cus_NffrFeUfNV2Hib",
    ),
    *(
        "all basic options",
        "It has two basic methods,",
        "bearer of bad news",
        "skipped: the-quick-brown-fox-jumps-over",
    ),
    *(
        "SELECT * FROM tokens WHERE token_id = 5",
        "1,234 tokens in 56 ms",
        "author: ada",
        "keyboard=qwerty",
        "monkey=george1",
    ),
)


@pytest.fixture(scope="module")
def redaction():
    return Redaction()


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_a_text_is_replaced_and_the_rest_stays(redaction, text):
    assert redaction.redact_text(text) == TEXTS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_is_the_same_object(redaction, text):
    assert redaction.redact_text(text) is text


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_redacted_is_not_found_again(redaction, text):
    assert redaction.redact_text(TEXTS[text]) == TEXTS[text]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_is_found_in_json_too_and_by_the_quick_look(redaction, text):
    encoded = json.dumps({"a": 1, "note": text, "list": [text]}, ensure_ascii=False)
    assert redaction.find_suspects(["{}", encoded, ""]) == [1]
    assert json.loads(redaction.redact_json(encoded)) == {"a": 1, "note": TEXTS[text], "list": [TEXTS[text]]}


@pytest.mark.parametrize(
    ("attributes", "clean"),
    [
        ({"password": "x", "n": 1}, {"password": "[redacted]", "n": 1}),
        ({"user.password": 1234, "token": 5, "a": True}, {"user.password": "[redacted]", "token": 5, "a": True}),
        ({"http.request.header.cookie": ["a=b", "c"]}, {"http.request.header.cookie": ["[redacted]", "[redacted]"]}),
        ({"api_key": {"@bytes": "aGk="}, "x": {"@bytes": "aGk="}}, {"api_key": "[redacted]", "x": {"@bytes": "aGk="}}),
        (
            {"process.command_args": ["x", "--password", "y", "-v"]},
            {"process.command_args": ["x", "--password", "[redacted]", "-v"]},
        ),
        ({"card": 4111111111111111, "n": 10**300}, {"card": "[redacted]", "n": 10**300}),
        ({"client_secret": {"deep": ["x"]}}, {"client_secret": {"deep": ["[redacted]"]}}),
        ({GITHUB: 1}, {"[redacted]": 1}),
        ({"session.id": "", "password": None, "secret": "***"}, {"session.id": "", "password": None, "secret": "***"}),
    ],
)
def test_attributes_lose_what_stands_under_a_secrets_name(redaction, attributes, clean):
    text = json.dumps(attributes)
    assert json.loads(redaction.redact_json(text)) == clean
    assert (redaction.redact_json(text) is text) == (attributes == clean)


def test_a_secret_in_bytes_is_found(redaction):
    encoded = base64.b64encode(b"GET / HTTP/1.1\r\nAuthorization: Bearer abcdef123456\r\n").decode()
    assert json.loads(redaction.redact_json(json.dumps({"raw": {"@bytes": encoded}}))) == {"raw": "[redacted]"}


def test_what_stays_keeps_its_type_its_order_and_its_lone_surrogates(redaction):
    text = '{"b":1.0,"a":"\\ud800","c":["x",null,true],"d":{"@double":"NaN"},"password":"p"}'
    assert redaction.redact_json(text) == text.replace('"p"', '"[redacted]"')


@given(st.text(max_size=300))
def test_any_text_is_redacted_once_and_for_all(text):
    redaction = Redaction()
    once = redaction.redact_text(text)
    assert redaction.redact_text(once) == once


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_any_json_stays_json(value):
    clean = json.loads(Redaction().redact_json(json.dumps(value)))
    assert type(clean) in (type(value), str)


def test_the_users_names_are_found_where_their_words_stand():
    redaction = Redaction(keys=["tax id", "badge"])
    attributes = {"customer.taxId": "DE1", "tax_id": "DE2", "syntax.id": "DE3", "badge-number": "7", "badger": "x"}
    clean = json.loads(redaction.redact_json(json.dumps(attributes)))
    assert clean == {
        "customer.taxId": "[redacted]",
        "tax_id": "[redacted]",
        "syntax.id": "DE3",
        "badge-number": "[redacted]",
        "badger": "x",
    }
    assert redaction.redact_text("tax_id=DE123 ok") == "tax_id=[redacted] ok"
    assert redaction.find_suspects(['{"syntax.id":"DE3"}', '{"customer.taxId":"DE1"}']) == [1]


def test_the_users_patterns_are_found_everywhere_and_may_mark_the_secret_part():
    redaction = Redaction(patterns=["corp-[0-9]{6}", "pin (?P<secret>[0-9]{4})"])
    assert redaction.redact_text("x" * 2_345 + "corp-123456, pin 1234") == "x" * 2_345 + "[redacted], pin [redacted]"
    assert json.loads(redaction.redact_json('{"corp-123456":["pin 1234"]}')) == {"[redacted]": ["pin [redacted]"]}


HOSTILE = (
    *("token=", "password ", "://", "://a:", "eyJ" + "a" * 20 + ".", "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN"),
    *(
        "sk-" + "a1" * 9 + "/",
        "curl -u ",
        "login(a,'",
        "Authorization: ",
        "Cookie: =",
        "Bearer ",
        "Q~",
        "4",
        "4 ",
        "key",
    ),
    *(
        'token="',
        "token='",
        'token=\\"',
        "a-",
        "a.",
        "A",
        "_",
        "-",
        "--password ",
        "pass.",
        "\\",
        '"',
        "\n",
        "é",
        "\ud800",
    ),
    *(
        "<password>",
        "hooks.slack.com/services/",
        "00D" + "a" * 12 + "!" + "a" * 20,
        "password:\n",
        "{",
        "[",
        "x_key:a-",
        'token="""',
        "password=['a',",
        "token:['",
        "password=$a$",
        "PASSWORD FOR ",
        "token='''",
        "password: |\n a",
        "password: |\n a\n a",
        "<password><![CDATA[",
        "name=password a='b'",
        "name=token value=",
        "auth=('",
        "PASSWORD '",
        "identified by 'create ",
        "Authorization: Digest a=",
        "Authorization: Digest a=b, ",
        "4111-",
        "4111 1111 1111 1111-1 ",
        "('cookie','a",
        'secret={"a":"b",',
        "token={'a':'",
        "secret={",
        'Cookie: a="',
        'Cookie: a="\\x',
        "Cookie: a=\\",
        'Authorization: Hawk a="',
        'Authorization: Hawk a="b", ',
        "Authorization: X a1b2c3d4e5 ",
        "auth=(a,",
        "password=\\\n",
        "password=${a",
        "password={{",
        "password for ",
        "token=`",
        "api key ",
        "api_key://none\\nauth",
        "\0\\",
        '\\"token\\" ',
    ),
)


HEXES = ("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "aaaaaaaa-1111-2222-3333-bbbbbbbbbbbb")


@pytest.mark.parametrize(
    "address",
    [
        f"hooks.slack.com/services/T{HEXES[0][:8].upper()}/B{HEXES[0][8:16].upper()}/{HEXES[0][:24]}",
        f"discord.com/api/webhooks/123456789012345678/{HEXES[0]}{HEXES[0]}abcd",
        f"webhook.office.com/webhookb2/{HEXES[1]}@{HEXES[1]}/IncomingWebhook/{HEXES[0]}/{HEXES[1]}",
    ],
)
def test_an_address_that_anybody_may_post_to_who_knows_it_is_a_secret(address):
    redaction = Redaction()
    text = f"POST https://contoso.{address} failed"
    assert redaction.find_suspects([text]) == [0]
    clean = redaction.redact_text(text)
    assert HEXES[0][:16] not in clean
    assert HEXES[1] not in clean
    assert (clean[:5], clean[-7:]) == ("POST ", " failed")


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_a_text_made_to_be_slow_is_not_slow(piece):
    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size] + "!"
        began = time.thread_time()
        Redaction().redact_text(text)
        return time.thread_time() - began

    assert any(seconds(65_536) < 2.0 for _ in range(2))


@pytest.mark.parametrize(
    "value", ["a-" * 5_000 + "!", "Aa" * 5_000 + "!", "a." * 5_000 + "(", "1" * 10_000 + "x", "A_" * 5_000]
)
def test_a_value_made_to_be_slow_is_not_slow(value):
    began = time.thread_time()
    Redaction().redact_json(json.dumps({"session": value, "x_key": value, "note": f"session={value}"}))
    assert time.thread_time() - began < 1.0


def test_ids_of_links_and_times_of_events_stay_even_where_they_could_be_the_number_of_a_card():
    card = "4111111111111111"
    ids = {"trace_id": card * 2, "span_id": card, "flags": 1}
    kept = json.dumps([{**ids, "attributes": {}}, {"name": "e", "time_unix_nano": 4111111111111111110}])
    for redaction in (Redaction(), Redaction(keys=["trace", "span id"], patterns=[r"\d{16}"])):
        assert redaction.redact_json(kept) == kept
    (link,) = json.loads(Redaction().redact_json(json.dumps([{**ids, "attributes": {"card": card}}])))
    assert link == {**ids, "attributes": {"card": "[redacted]"}}
    for other in ({"span_id": card}, {"span_id": card, "trace_id": "x"}, {"time_unix_nano": card}, {"n": int(card)}):
        assert card not in Redaction().redact_json(json.dumps(other))
