from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_perfmon.redaction.finding import find_secrets
from otel_perfmon.redaction.frames import Frames
from otel_perfmon.redaction.names import weight_of
from otel_perfmon.redaction.redaction import Redaction

CODES = (
    *(
        "    return f(x)",
        "    token = get_token(request)",
        '    connect(password="hun ter2", port=5)',
        "    password =",
    ),
    *(
        "    api_key:",
        "    login(",
        "    Authorization:",
        "    curl --user",
        "    x = '-----BEGIN RSA PRIVATE KEY-----'",
    ),
    *("    -u ada:hunter2", "    --password", "    raise E('paid by 4111 1111 1111 1111')", "    token >", ""),
)
ENDS = (
    *("order 1 is late", "order 2 is late", "password=hunter2", "pin 4111111111111112", "pin 4111111111111111"),
    *(
        "pin 1111111111111111",
        "sent flyv1 abcdef123456",
        "sent flyv2 abcdef123456",
        "\u00a04111111111111111",
        "tax7=ab",
    ),
    *('"token": "a1b2c3d4e5"', "4111\t1111 1111\t1111", "1111\t1111 1111\t1111", "-----END RSA PRIVATE KEY-----"),
)
stacks = st.builds(
    lambda frames, end: "Traceback:" + "".join(f'\n  File "/x.py", line 1, in f\n{each}' for each in frames) + end,
    st.lists(st.sampled_from(CODES), max_size=6),
    st.one_of(st.sampled_from(ENDS), st.text(max_size=20)).map("\nE: {}\n".format),
)


def event_of(text: str, at: int) -> str:
    return json.dumps([{"name": "exception", "time_unix_nano": at, "attributes": {"m": text}}], ensure_ascii=False)


@settings(deadline=None)
@given(st.lists(stacks, min_size=1, max_size=12))
def test_frames_left_out_of_the_search_hide_no_secret(texts):
    frames = Frames(weight_of)
    for text in texts + texts:
        assert sorted(frames.find_secrets(text)) == sorted(find_secrets(text, weight_of))


@settings(deadline=None)
@given(st.lists(stacks, min_size=1, max_size=12), st.sampled_from([(), ("file",), ("tax 7",)]))
def test_who_remembers_redacts_what_who_does_not_would(texts, keys):
    redaction = Redaction(keys=keys)
    for text in texts + texts + texts:
        event = event_of(text, 1_795_873_256_722_681_690)
        suspects = redaction.find_suspects([event, text, "x"])
        fresh = [Redaction(keys=keys) for _ in range(3)]
        clean = fresh[0].redact_json(event)
        assert redaction.redact_json(event) == clean
        assert fresh[1].redact_text(text) == redaction.redact_text(text)
        assert (0 in suspects) or clean == event
        assert suspects == fresh[2].find_suspects([event, text, "x"])


@pytest.mark.parametrize(
    ("harmless", "secret"),
    [
        ("paid by 4111111111111112", "paid by 4111111111111111"),
        ("n:1795873256722681690, ok", "n:4111111111111111, ok"),
        ("with flyv2 abcdef123456", "with flyv1 abcdef123456"),
        ("tax6=ab", "tax7=ab"),
    ],
)
def test_other_digits_may_make_a_secret_of_what_was_harmless(harmless, secret):
    redaction = Redaction(keys=["tax 7"])
    frame = '\n  File "/x.py", line 1, in f\n    f()'
    for text in [harmless] * 4 + [secret]:
        found = redaction.find_suspects([event_of(frame + frame + text, 1)])
        assert found or text == harmless
    assert "[redacted]" in redaction.redact_json(event_of(frame + frame + secret, 1))


def test_the_time_of_an_event_is_no_card_to_be_looked_for():
    redaction = Redaction()
    assert redaction.find_suspects([event_of("a", 1_795_873_256_722_681_690), '{"n": 4111111111111111}']) == [1]


def test_what_is_remembered_is_bounded_and_of_what_is_suspicious_only_hashes_are():
    redaction = Redaction()
    frame = '\n  File "/x.py", line 1, in f\n    f()'
    for number in range(3_000):
        text = f"T{frame}{frame} {number:b}\nE: x{chr(number + 300)} password=hunter2abc{number}"
        with redaction.remembering():
            redaction.find_suspects([event_of(text, number)])
            assert "hunter2" not in redaction.redact_text(text)
    suspicion, shapes = redaction._suspicion, redaction._suspicion._shapes
    kept = [suspicion._clean.texts, suspicion._clean_frames.texts, suspicion._bad, redaction._frames._barren.texts]
    kept += [shapes._seen, shapes._odd, shapes._harmless, redaction._weights]
    assert redaction._redacted is None
    assert all(len(each) <= 8_200 for each in kept)
    assert "hunter" not in repr(kept)
