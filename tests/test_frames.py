"""A stack is read frame by frame, nothing of it is lost, and the place is the program's own."""

from __future__ import annotations

import traceback

import pytest

from otel_perfmon.frames import Frame, innermost, parse_stack, place_of

STACK = (
    "... 3 more\n"
    '  File "/srv/shop/pay.py", line 12, in pay\n    charge()\n'
    '  File "/srv/shop/gateway.py", line 118, in charge\n    call()\n    ^^^^^^\n'
    '  File "/usr/lib/python3.11/socket.py", line 706, in readinto\n    return self._sock.recv_into(b)\n'
)


def test_all_lines_of_the_text_are_in_its_parts():
    first, *frames, last = parse_stack(STACK)
    assert (first, last) == ("... 3 more", "")
    assert [(frame.place, frame.code, frame.is_library) for frame in frames] == [
        ("pay.py:12 in pay", ("charge()",), False),
        ("gateway.py:118 in charge", ("call()", "^^^^^^"), False),
        ("socket.py:706 in readinto", ("return self._sock.recv_into(b)",), True),
    ]


def test_the_place_is_the_innermost_of_the_programs_own():
    assert place_of(STACK) == "gateway.py:118 in charge"


@pytest.mark.parametrize(
    "path", ["/usr/lib/python3.12/queue.py", "/venv/lib/python3.10/site-packages/a.py", "C:\\Python\\Lib\\ssl.py"]
)
def test_in_a_library_alone_it_is_the_innermost(path):
    assert place_of(f'  File "{path}", line 1, in a\n  File "{path}", line 2, in b\n').endswith(":2 in b")


@pytest.mark.parametrize("text", ["", "no stack", "File x, line y"])
def test_what_is_no_stack_has_no_frames(text):
    assert parse_stack(text) == [text]
    assert innermost([text]) is None
    assert place_of(text) == ""


def test_what_python_writes_is_read():
    text = "".join(traceback.format_stack())
    assert sum(isinstance(part, Frame) for part in parse_stack(text)) == text.count('  File "')
