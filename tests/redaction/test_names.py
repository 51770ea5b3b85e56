from __future__ import annotations

import pytest

from otel_perfmon.redaction.names import CERTAIN, HARMLESS, KEYWORDS, LIKELY, MAYBE, SECRET, weight_of, words_of

SECRETS = (
    *(
        "secrets",
        "account_key",
        "csrfmiddlewaretoken",
        "authtoken",
        "bot_token2",
        "user.token",
        "access_tokens",
        "authTokens",
    ),
    *("authorization", "http.request.header.authorization", "Proxy-Authorization", "HTTP_AUTHORIZATION"),
    *("cookie", "Set-Cookie", "http.request.header.cookie", "http.response.header.set-cookie", "cookies"),
    *("session_id", "sessionId", "session.id", "PHPSESSID", "JSESSIONID", "session_key"),
)
CERTAINS = (
    *("api_key", "apiKey", "X-Api-Key", "http.request.header.x-api-key", "APIKEY", "openai_api_key", "private_key"),
    *("client_secret", "clientSecret", "SECRET", "aws_secret_access_key", "access_key", "signing-key"),
    *("access_token", "accessToken", "refresh_token", "X-Auth-Token", "mfa_token", "otpToken", "mySecretString"),
    *("password_confirmation", "passwordConfirm", "password_confirm", "password_again", "password_repeat", "passwd2"),
    *("secret_key_base", "password_hash", "password_digest", "passwordHash", "access_token_b64"),
    "password",
    "user.password",
    "userPassword",
    "db_passwd",
    "passphrase",
    "PGPASSWORD",
    "pwd",
    "passwordValue",
)
LIKELIES = ("token", "tokens", "token_b64", "pass", "smtp_pass", "pw")
PERHAPS = (
    "session",
    "auth",
    "signature",
    "X-Amz-Signature",
    "jwt",
    "credentials",
    "mailgun_key",
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
    *(
        "max_tokens",
        "total_tokens",
        "cached_tokens",
        "token_type",
        "next_page_token",
        "time_to_first_token",
        "gen_ai.server.time_per_output_token",
    ),
    *("monkey", "turkey", "keyboard", "key", "cache.key", "messaging.kafka.message.key", "aws.s3.key", "primary_key"),
    *("feature_flag.key", "public_key", "idempotency-key", "key_id", "keyspace", "http.request.header.content-length"),
    *("author", "authority", "authors", "url.authority", "authentication.method", "authorization.policy", "auth.type"),
    *("session.count", "db.session.isolation", "sessions", "session_duration", "cookie_count", "cookie_consent"),
    *(
        "password_length",
        "password.policy",
        "commit_hash",
        "digest",
        "password_hash_rounds",
        "confirm_password_seen",
        "password_changed_at",
        "secret_name",
        "secretary",
        "compass",
        "passenger",
    ),
    *("bypass", "passed", "test.passed", "assignment", "design", "inside", "reside", "credit", "accredited", "sigma"),
    *("db.query.text", "http.route", "server.address", "user_agent.original", "", "...", "42", "ключ"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_the_name_of_a_secret_is_known_however_it_is_spelt(name):
    assert weight_of(name) == SECRET


@pytest.mark.parametrize("name", CERTAINS)
def test_the_name_of_a_password_or_key_is_known_however_it_is_spelt(name):
    assert weight_of(name) == CERTAIN


@pytest.mark.parametrize("name", LIKELIES)
def test_a_name_that_other_things_have_too_is_likely_a_secrets(name):
    assert weight_of(name) == LIKELY


@pytest.mark.parametrize("name", PERHAPS)
def test_under_some_names_a_secret_may_stand(name):
    assert weight_of(name) == MAYBE


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_name_that_only_looks_like_a_secrets_is_harmless(name):
    assert weight_of(name) == HARMLESS


@pytest.mark.parametrize("name", SECRETS + CERTAINS + LIKELIES + PERHAPS)
def test_every_name_that_weighs_something_has_a_keyword_in_it(name):
    assert any(keyword in name.lower() for keyword in KEYWORDS)


def test_names_are_taken_apart_at_whatever_divides_words():
    assert words_of("HTTPHeader.x-apiKey_v2") == ["http", "header", "x", "api", "key", "v", "2"]
