"""Headers in texts: their quotes, the schemes of authorization, and sentences about it."""

from __future__ import annotations

import pytest

from otel_perfmon.redaction.redaction import Redaction

R = "[redacted]"
TEXTS = {
    'Set-Cookie: sessionid="hunter2abc"; Path=/': f"Set-Cookie: {R}",
    'Set-Cookie: sid=\\"hunter2abc\\"; Path=/': f"Set-Cookie: {R}",
    "{'Set-Cookie': 'sid=\"hunter2 abc\"; Path=/', 'a': 1}": f"{{'Set-Cookie': '{R}', 'a': 1}}",
    '{"Cookie":"a=","b":"c"}': f'{{"Cookie":"{R}","b":"c"}}',
    '"Cookie: a=" + token + "; b"': f'"Cookie: {R}" + token + "; b"',
    "{'Cookie': b\"user=S3CR3Tone\"}": f"{{'Cookie': b\"{R}\"}}",
    "authorization: MyScheme abcdefg": f"authorization: MyScheme {R}",
    'Authorization: Hawk id="dh37", mac="6R4r="': f"Authorization: Hawk {R}",
    "{'Authorization': 'Hawk id=\"dh37\", mac=\"6R4r=\"', 'a': 1}": f"{{'Authorization': 'Hawk {R}', 'a': 1}}",
    'Authorization: OAuth realm="x", oauth_token="ab", oauth_signature="c%3D"': f"Authorization: OAuth {R}",
    'Authorization: Token token="hunter2abc", n=1': f"Authorization: Token {R}",
    "Authorization: AWS4-HMAC-SHA256 Credential=A/s3, SignedHeaders=host;range, Signature=fe": (
        f"Authorization: AWS4-HMAC-SHA256 {R}"
    ),
    '{"Authorization": "Token a=", "b": 1}': f'{{"Authorization": "Token {R}", "b": 1}}',
    "Authorization: Bearer abcdef== is wrong": f"Authorization: Bearer {R} is wrong",
    "Authorization: Custom abc123def456 ghi789 is wrong": f"Authorization: Custom {R} is wrong",
    "Authorization: Key abc, retry": f"Authorization: Key {R}, retry",
}
HARMLESS = (
    *("authorization: see the manual", "authorization: not found", "Authorization: Access denied"),
    *("Authorization: Required header missing", 'authorization: str = "x"', "authorization: Optional[str] = None"),
    *("Authorization: Bearer $TOKEN", "Authorization: Bearer <token>", "authorization failed: see a=b"),
)


@pytest.mark.parametrize("text", TEXTS)
def test_all_of_a_headers_secret_goes_and_what_is_behind_it_stays(text):
    redaction = Redaction()
    assert redaction.redact_text(text) == TEXTS[text]
    assert redaction.redact_text(TEXTS[text]) == TEXTS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_sentence_about_authorization_stays(text):
    assert Redaction().redact_text(text) is text
