"""In a Chrome trace what overlaps stands on tracks of its own, and what nests stands on one."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from otel_perfmon.formats.chrome_trace import encode_chrome_trace
from otel_perfmon.records import ResourceRecord, ScopeRecord, SpanRecord

START = 1_700_000_000_000_000_000
ROOT = SpanRecord(
    trace_id="ab" * 16, span_id="01" * 8, parent_span_id=None, name="root", kind=1, start_unix_nano=START,
    end_unix_nano=START + 10_000, status_code=2, status_message="boom", trace_state="", flags=1, attributes={"n": 1},
    events=(), links=(), dropped_attributes_count=0, dropped_events_count=0, dropped_links_count=0,
    resource=ResourceRecord({"service.name": "shop"}), scope=ScopeRecord("cart"),
    is_error=True, is_slow=False, error_type=None,
)  # fmt: skip


def part(name: str, start: int, end: int, parent: SpanRecord | None = ROOT) -> SpanRecord:
    return replace(
        ROOT,
        span_id=name.encode().hex().ljust(16, "0"),
        parent_span_id=parent.span_id if parent else None,
        name=name,
        start_unix_nano=START + start,
        end_unix_nano=START + end,
        resource=ResourceRecord({"service.name": "shop"}),  # another object of the same resource, as in another page
    )


def events(*spans: SpanRecord) -> list[dict]:
    found = json.loads(b"".join(encode_chrome_trace([[span] for span in spans])))["traceEvents"]
    return [event for event in found if event["ph"] == "X"]


def tracks(*spans: SpanRecord) -> dict[str, int]:
    return {event["name"]: event["tid"] for event in events(*spans)}


def test_a_span_is_a_complete_event_in_microseconds_from_the_first_start():
    first, second = events(part("child", 2_000, 3_500), ROOT)
    assert (first["name"], first["ts"], first["dur"], first["cat"]) == ("root", 0.0, 10.0, "cart")
    assert first["args"] == {"n": 1, "trace_id": ROOT.trace_id, "span_id": ROOT.span_id, "status": "error",
                             "status_message": "boom"}  # fmt: skip
    assert (second["name"], second["ts"], second["dur"]) == ("child", 2.0, 1.5)


def test_what_nests_shares_the_track_of_its_parent_and_what_overlaps_has_another():
    one, two = part("one", 1_000, 5_000), part("two", 2_000, 8_000)
    inner, last = part("inner", 2_500, 3_000, two), part("last", 8_500, 9_000)
    assert tracks(ROOT, one, two, inner, last) == {"root": 0, "one": 0, "two": 1, "inner": 1, "last": 0}


def test_what_runs_beside_another_is_never_shown_as_called_by_it():
    long, short = part("long", 0, 9_000), part("short", 1_000, 5_000)
    found = tracks(ROOT, long, short)
    assert found["long"] == found["root"] != found["short"]


def test_on_each_track_spans_nest_whatever_they_are():
    chance = random.Random(1)
    spans = [ROOT]
    for number in range(300):
        start = chance.randrange(10_000)
        parent = chance.choice([None, *spans])
        spans.append(part(f"s{number}", start, start + chance.randrange(3_000), parent))
    by_track: dict[int, list[tuple[int, int]]] = {}
    for event in sorted(events(*spans), key=lambda event: (event["ts"], -event["dur"])):
        start, end = (round(each * 1_000) for each in (event["ts"], event["ts"] + event["dur"]))
        outer = by_track.setdefault(event["tid"], [])
        while outer and outer[-1][1] <= start:
            outer.pop()
        assert not outer or end <= outer[-1][1]
        outer.append((start, end))
    assert len(by_track) < 150


def test_what_outlives_its_parent_or_has_none_never_cuts_into_another_span():
    late, other = part("late", 9_000, 12_000), part("other", 5_000, 6_000, None)
    assert tracks(ROOT, late, other) == {"root": 0, "late": 1, "other": 1}


def test_each_resource_is_a_process_with_its_name():
    pages = [[ROOT, replace(ROOT, resource=ResourceRecord({"service.name": "mail", "process.pid": 7}))]]
    found = json.loads(b"".join(encode_chrome_trace(pages)))["traceEvents"]
    assert [event["args"]["name"] for event in found if event["ph"] == "M"] == ["shop", "mail 7"]
    assert [event["pid"] for event in found if event["ph"] == "X"] == [1, 2]


def test_no_spans_are_an_empty_trace():
    assert json.loads(b"".join(encode_chrome_trace([])))["traceEvents"] == []
