from __future__ import annotations

import pytest

from otel_perfmon.redaction.names import HARMLESS, KEYWORDS, MAYBE, PASSWORD, SECRET, weight_of, words_of

SECRETS = (
    *("api_key", "apiKey", "X-Api-Key", "http.request.header.x-api-key", "APIKEY", "openai_api_key", "private_key"),
    *("client_secret", "clientSecret", "SECRET", "secrets", "aws_secret_access_key", "access_key", "signing-key"),
    *("access_token", "accessToken", "refresh_token", "csrfmiddlewaretoken", "X-Auth-Token", "authtoken", "bot_token2"),
    *("authorization", "http.request.header.authorization", "Proxy-Authorization", "HTTP_AUTHORIZATION"),
    *("cookie", "Set-Cookie", "http.request.header.cookie", "http.response.header.set-cookie", "cookies"),
    *("session_id", "sessionId", "session.id", "PHPSESSID", "JSESSIONID", "session_key", "mySecretString"),
)
PASSWORDS = (
    "password",
    "user.password",
    "userPassword",
    "db_passwd",
    "passphrase",
    "PGPASSWORD",
    "pwd",
    "passwordValue",
)
PERHAPS = (
    "session",
    "auth",
    "token",
    "signature",
    "X-Amz-Signature",
    "jwt",
    "credentials",
    "mailgun_key",
    "pass",
    "sid",
)
HARMLESS_NAMES = (
    *(
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "llm.token_count",
        "llm.token_count.prompt",
        "tokenizer",
    ),
    *("max_tokens", "token_type", "next_page_token", "time_to_first_token", "gen_ai.server.time_per_output_token"),
    *("monkey", "turkey", "keyboard", "key", "cache.key", "messaging.kafka.message.key", "aws.s3.key", "primary_key"),
    *("feature_flag.key", "public_key", "idempotency-key", "key_id", "keyspace", "http.request.header.content-length"),
    *("author", "authority", "authors", "url.authority", "authentication.method", "authorization.policy", "auth.type"),
    *("session.count", "db.session.isolation", "sessions", "session_duration", "cookie_count", "cookie_consent"),
    *("password_length", "password.policy", "password_changed_at", "secret_name", "secretary", "compass", "passenger"),
    *("bypass", "passed", "test.passed", "assignment", "design", "inside", "reside", "credit", "accredited", "sigma"),
    *("db.query.text", "http.route", "server.address", "user_agent.original", "", "...", "42", "ключ"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_the_name_of_a_secret_is_known_however_it_is_spelt(name):
    assert weight_of(name) == SECRET


@pytest.mark.parametrize("name", PASSWORDS)
def test_the_name_of_a_password_is_known_however_it_is_spelt(name):
    assert weight_of(name) == PASSWORD


@pytest.mark.parametrize("name", PERHAPS)
def test_under_some_names_a_secret_may_stand(name):
    assert weight_of(name) == MAYBE


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_name_that_only_looks_like_a_secrets_is_harmless(name):
    assert weight_of(name) == HARMLESS


@pytest.mark.parametrize("name", SECRETS + PASSWORDS + PERHAPS)
def test_every_name_that_weighs_something_has_a_keyword_in_it(name):
    assert any(keyword in name.lower() for keyword in KEYWORDS)


def test_names_are_taken_apart_at_whatever_divides_words():
    assert words_of("HTTPHeader.x-apiKey_v2") == ["http", "header", "x", "api", "key", "v", "2"]
