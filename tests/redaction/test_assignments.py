"""Values on the next line, and what stands there and is none."""

from __future__ import annotations

import pytest

from otel_perfmon.redaction.redaction import Redaction

R = "[redacted]"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('password=\\\n"abc123"', f'password=\\\n"{R}"'),
        ("password = \\\r\n  'abc123', n", f"password = \\\r\n  '{R}', n"),
        ("export PASSWORD=\\\nabc123", f"export PASSWORD=\\\n{R}"),
        ("{\\'password\\': \\'it\"s\\'}", f"{{\\'password\\': \\'{R}\\'}}"),
        ('url = "https://bob:hunter2@" + host', f'url = "https://bob:{R}@" + host'),
    ],
)
def test_a_value_is_found_where_its_line_or_its_quotes_go_on(text, clean):
    assert Redaction().redact_text(text) == clean
    assert Redaction().redact_text(clean) == clean


@pytest.mark.parametrize("end", ["password =", "secret:", "password = \\", "the api_key is <password>", "token:="])
def test_the_frame_behind_a_name_is_not_its_value(end):
    text = f'E: wrong {end}\n  File "x.py", line 3, in f\n    f(x)'
    assert Redaction().redact_text(text) is text
