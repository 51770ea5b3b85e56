"""The ways in which programs write a name and its secret, each beside a harmless text that looks alike."""

from __future__ import annotations

import json

import pytest

from otel_perfmon.redaction.redaction import Redaction

R = "[redacted]"
HEX = "0123456789abcdef0123456789abcdef"
TEXTS = {
    "headers [(b'x-api-key', b'Zq9kV001pLx7')]": f"headers [(b'x-api-key', b'{R}')]",
    "[(b'host', b'x'), (b'cookie', b'abc')]": f"[(b'host', b'x'), (b'cookie', b'{R}')]",
    "[('cookie','x=abcdef')]": f"[('cookie','{R}')]",
    '[["authorization","abcdef"]]': f'[["authorization","{R}"]]',
    '["Authorization", "Bearer abc"]': f'["Authorization", "{R}"]',
    "[('password', 'hunter2')]": f"[('password', '{R}')]",
    f'Authorization: Digest username="bob", realm="r", nonce="{HEX}", response="{HEX}"': f"Authorization: Digest {R}",
    f"{{'Authorization': 'Digest username=\"bob\", qop=auth, response=\"{HEX}\"', 'a': 1}}": (
        f"{{'Authorization': 'Digest {R}', 'a': 1}}"
    ),
    "GET /a?token=abc": f"GET /a?token={R}",
    "GET /a?x=1&token=12345&y=2": f"GET /a?x=1&token={R}&y=2",
    "api_key=12345": f"api_key={R}",
    "mfa_token=123456": f"mfa_token={R}",
    "secret: hunter": f"secret: {R}",
    '{"secret":1234}': f'{{"secret":{R}}}',
    '{"access_token": 123, "n": 5}': f'{{"access_token": {R}, "n": 5}}',
    "pass=hunter2": f"pass={R}",
    "{'user':'bob','pass':'hunter2'}": f"{{'user':'bob','pass':'{R}'}}",
    "get(url, auth=('bob','Zq9kV001pLx7'))": f"get(url, auth=('bob','{R}'))",
    "HTTPBasicAuth('bob', 'hunter2')": f"HTTPBasicAuth('bob', '{R}')",
    'password="""abc\ndef""", n=1': f'password="""{R}""", n=1',
    "password='''abcdef'''": f"password='''{R}'''",
    "password='''abc": f"password='''{R}",
    "password: |\n  abcdef\n  ghi\nuser: bob": f"password: |\n  {R}\nuser: bob",
    "  password: >-\n    abcdef\n  user: bob": f"  password: >-\n    {R}\n  user: bob",
    "<password><![CDATA[x]]></password>": f"<password><![CDATA[{R}]]></password>",
    '{"name":"password","value":"hunter2"}': f'{{"name":"password","value":"{R}"}}',
    "{'key': 'db_password', 'type': 'env', 'value': 'hunter2'}": (
        f"{{'key': 'db_password', 'type': 'env', 'value': '{R}'}}"
    ),
    "- name: DB_PASSWORD\n  value: hunter2\n- name: USER": f"- name: DB_PASSWORD\n  value: {R}\n- name: USER",
    '<input name="password" value="hunter2">': f'<input name="password" value="{R}">',
    "<input name='password' type='text' value='hunter2'>": f"<input name='password' type='text' value='{R}'>",
    "name=password&value=hunter2&n=1": f"name=password&value={R}&n=1",
    "ALTER USER x WITH PASSWORD 'hunter2'": f"ALTER USER x WITH PASSWORD '{R}'",
    "create role x login password 'hunter2'": f"create role x login password '{R}'",
    "CREATE USER x IDENTIFIED BY 'hunter2'": f"CREATE USER x IDENTIFIED BY '{R}'",
    "create user x identified with sha2 by 'hunter2'": f"create user x identified with sha2 by '{R}'",
    "SET PASSWORD FOR x = 'hunter2'": f"SET PASSWORD FOR x = '{R}'",
    "{'tokens': ['abc1', 'abc2'], 'n': ['a']}": f"{{'tokens': ['{R}'], 'n': ['a']}}",
    "{'password': 'hun\"ter', 'n': 1}": f"{{'password': '{R}', 'n': 1}}",
    "EnvVar(name='DB_PASSWORD', value='hun\"ter')": f"EnvVar(name='DB_PASSWORD', value='{R}')",
    "token='a1\"b2', n": f"token='{R}', n",
    '{"passwords":["hunter"]}': f'{{"passwords":["{R}"]}}',
    "password_hash=$2b$12$abcdefghijklmnopqrstuv n": f"password_hash={R} n",
    "password_hash=$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaGhhc2g n": f"password_hash={R} n",
    "GET /pay/4000002500003155/go": f"GET /pay/{R}/go",
    "+4111111111111111": f"+{R}",
    "4111111111111111-1": f"{R}-1",
    "id_4000002500003155": f"id_{R}",
    "order-4111111111111111_a": f"order-{R}_a",
}
HARMLESS = (
    *("[(b'x-request-id', b'Zq9kV001pLx7')]", '_HEADERS = ("authorization", "cookie")', '["cookie", "content-type"]'),
    *('("password", "user_name")', "fields = ('password', 'email')", "['cookie', 'host', 'accept']"),
    *(f'WWW: username="bob", realm="r", response="{HEX}"', "GET /a?page_token=abc&tokens=5", "token=12345"),
    *('{"tokens": 123}', "total_tokens=123", "token: x1", "Unexpected token: abc1", "cookies=3", "session_id=12345"),
    *("secret: none", "secrets: 5", "the secret: be patient", "api_key: str", "secret_count=5"),
    *("pass=first", "pass=2", "pass: phase2", "{'pass':'second'}", "bypass=hunter2", "authors=('bob', 'Zq9kV001pLx7')"),
    *('summary="""abc\ndef"""', 'password=""""""', "notes: |\n  abcdef\nuser: bob", "password: |\nuser: bob"),
    *("<name><![CDATA[x]]></name>", '{"name":"colour","value":"red"}', '{"name":"password","type":"string"}'),
    *("name=password&values=2", '<input name="password" value="">', "{'name': 'token', 'value': 'comma'}"),
    *("the password 'x' is wrong", "SELECT 'hunter2' AS user", "a driver identified by 'A17'", "PASSWORD '?'"),
    *("passwords = ('password', 'passwd')", "{'tokens': ['the', 'cat']}", "password=$DB_PASSWORD", "password_hash=$1"),
    *("12345678-4111-1111-1111-111111111111", "14111111111111111", "1.4111111111111111", "4111111111111111.5"),
    *("a4111111111111111", "beef-4111111111111111", "4111111111111111-beef", "+4222222222222", "GET /pay/41111/go"),
)


@pytest.fixture(scope="module")
def redaction():
    return Redaction()


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_is_taken_out_and_not_found_again(redaction, text):
    assert redaction.redact_text(text) == TEXTS[text]
    assert redaction.redact_text(TEXTS[text]) == TEXTS[text]


@pytest.mark.parametrize("text", TEXTS)
def test_the_quick_look_sees_it_in_json(text):
    redaction = Redaction()
    encoded = json.dumps({"a": 1, "note": text}, ensure_ascii=False)
    assert redaction.find_suspects(["{}", encoded]) == [1]
    assert json.loads(redaction.redact_json(encoded)) == {"a": 1, "note": TEXTS[text]}


@pytest.mark.parametrize("text", HARMLESS)
def test_a_look_alike_stays(redaction, text):
    assert redaction.redact_text(text) is text
    encoded = json.dumps({"a": 1, "note": text}, ensure_ascii=False)
    assert redaction.redact_json(encoded) is encoded


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ({"headers": [["authorization", "abcdef"], ["host", "x"]]}, {"headers": [["authorization", R], ["host", "x"]]}),
        ({"header": ["Authorization", "Bearer abc"]}, {"header": ["Authorization", R]}),
        ({"fields": ["password", "email"]}, None),
        ({"headers": ["cookie", "host"]}, {"headers": ["cookie", R]}),
        ({"headers": ["cookie", "user-agent"]}, None),
        ({"tokens": ["abc1", "abc2"]}, {"tokens": [R, R]}),
        ({"tokens": 123, "llm.tokens": 5, "token": 7, "list": {"tokens": ["the", "cat"]}}, None),
        ({"api_key": 12345, "secret": 1234, "n": 1}, {"api_key": R, "secret": R, "n": 1}),
        ({"secrets": 3, "cookies": 2, "session_id": 12, "is_secret": True}, None),
        ({"auth": {"user": "bob", "pass": "hunter2"}}, {"auth": {"user": "bob", "pass": R}}),
        ({"password_hash": "$2b$12$abcdefgh"}, {"password_hash": R}),
        ({"pass": "second", "test.pass": True}, None),
        ({"env": [{"name": "password", "value": "x"}]}, {"env": [{"name": "password", "value": R}]}),
        ({"Name": "/db/password", "Value": "x", "n": 1}, {"Name": "/db/password", "Value": R, "n": 1}),
        (
            {"key": "db_password", "value": {"stringValue": "x"}},
            {"key": "db_password", "value": {"stringValue": R}},
        ),
        ({"name": "colour", "value": "Zq9kV001pLx7"}, None),
        ({"name": 5, "value": "x", "title": "password"}, None),
    ],
)
def test_decoded_attributes_lose_the_same(redaction, given, clean):
    encoded = json.dumps(given, separators=(",", ":"))
    assert json.loads(redaction.redact_json(encoded)) == (clean or given)
    assert (redaction.redact_json(encoded) is encoded) == (clean is None)
    assert redaction.find_suspects([encoded]) == [0] or clean is None


def test_the_users_names_hide_numbers_too():
    redaction = Redaction(keys=["badge"])
    assert redaction.redact_json('{"badge":12,"n":12}') == f'{{"badge":"{R}","n":12}}'
    assert redaction.redact_text("badge=12 n=12") == f"badge={R} n=12"


def test_a_secret_of_many_lines_does_not_reach_into_the_next_frame(redaction):
    frame = '\n  File "/x.py", line 1, in f\n    f()'
    for text in (f'password="""abc\ndef{frame}', f"password: |{frame}", f"password: |\n  abc{frame}"):
        assert redaction.redact_text(text).endswith(frame)
