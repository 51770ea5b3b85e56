"""How values stand on a page: figures with a small unit, moments in the reader's zone, text from data made visible."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup, escape

from otel_perfmon import quantities
from otel_perfmon.moments import ago, clock, iso, period
from otel_perfmon.visible import visible

ABSENT: Final = Markup('<span class="dim">-</span>')
_NANO: Final = 10**9
NO_NAME: Final = "(no name)"
_LINES_KEPT: Final = "\n\t"
_HINT_LENGTH_MAX: Final = 1_000
_TITLE_LENGTH_MAX: Final = 80


def shown(value: object) -> Markup:
    """Text from data in one line: nothing of it is markup, hidden, or turns what stands around it."""
    text = str(value)
    if text and not text.strip(" "):  # a link of it could be neither seen nor read out
        return Markup('<span class="dim">({})</span>').format(quantities.counted(len(text), "space"))
    return Markup("<bdi>{}</bdi>").format(visible(text))


def shown_name(value: str) -> Markup:
    """The same of a name, also of one that is empty."""
    return shown(value) if value else Markup('<span class="dim">{}</span>').format(NO_NAME)


def shown_lines(value: object) -> str:
    """The same of text of several lines, which stand where they stood."""
    return visible(str(value), _LINES_KEPT)


def cut(value: object, length_max: int = 300) -> str:
    """The beginning of a text that is long: a table of a hundred rows has no room for the rest of it."""
    text = str(value)
    return text if len(text) <= length_max else f"{text[: length_max - 1]}…"


def hint(value: object) -> str:
    """What is to be read by who points at a text that was cut."""
    return shown_lines(cut(value, _HINT_LENGTH_MAX))


def as_title(name: str) -> str:
    """A name as the title of a page, which tabs and bookmarks show."""
    return shown_lines(cut(name, _TITLE_LENGTH_MAX)) or NO_NAME


def with_unit(text: str) -> Markup:
    """A figure and its unit, the unit small: of ``1.64 s``, ``40%``, ``5.06/s``."""
    end = next((place for place, char in enumerate(text) if char not in "0123456789.,-+<"), len(text))
    number, unit = text[:end], text[end:].strip()
    return Markup('{}<span class="u">{}</span>').format(number, unit) if unit else escape(number)


def duration(milliseconds: float | None) -> Markup:
    """A duration."""
    return ABSENT if milliseconds is None else with_unit(quantities.duration(milliseconds))


def duration_of_nano(nano: int) -> Markup:
    """The same; the exact number is there for who points at it."""
    return Markup('<span title="{:,} ns">{}</span>').format(nano, with_unit(quantities.duration(nano / 1e6)))


def lapse(seconds: float) -> Markup:
    """How long something goes on already."""
    parts = (Markup('{}<span class="u">{}</span>').format(*part) for part in quantities.lapse(seconds))
    return Markup("").join(parts)


def signed_duration(nano: int) -> Markup:
    """How much later or, with a minus, earlier."""
    return Markup('<span title="{:+,} ns">{}</span>').format(nano, with_unit(quantities.signed_duration(nano)))


def share(part: float) -> Markup:
    """A share between 0 and 1, in percent."""
    return with_unit(quantities.share(part))


def rate(per_second: float) -> Markup:
    """How often."""
    return with_unit(quantities.rate(per_second))


def size(size_bytes: float) -> Markup:
    """Bytes."""
    return with_unit(quantities.size(size_bytes))


def moment(unix_nano: int | None, form: str = "clock") -> Markup:
    """A moment; the browser writes it in the reader's zone, and to the nanosecond for who points at it.

    ``form``: ``clock`` is the time of day to the millisecond, or with the date of other days; ``second`` the same to
    the second; ``ago`` how long ago.
    """
    if not unix_nano:
        return ABSENT
    text = clock(unix_nano, digits=3)
    return Markup('<time datetime="{}" data-unix-nano="{}" data-form="{}">{}</time>').format(
        iso(unix_nano), unix_nano, form, text
    )


def moment_of_seconds(unix_seconds: float | None, form: str = "clock") -> Markup:
    """The same of Unix seconds."""
    return moment(None if unix_seconds is None else round(unix_seconds * _NANO), form)


def sparkline(counts: Sequence[int], error_counts: Sequence[int] = (), error_share_max: float = 0.0) -> Markup:
    """Counts over time as a small line from zero, with a dot where more than that share of the calls failed."""
    most, width, height = max(counts, default=0), 96.0, 22.0
    if len(counts) < 2 or not most:  # noqa: PLR2004 - a line has two ends
        return Markup("")
    step = width / (len(counts) - 1)
    points = [(place * step, height - 2 - (height - 5) * number / most) for place, number in enumerate(counts)]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = (
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="1.8"/>').format(*points[place])
        for place, failed in enumerate(error_counts[: len(counts)])
        if failed > error_share_max * counts[place]
    )
    return Markup('<svg class="spark" viewBox="-2 0 100 22" aria-hidden="true"><path d="{}"/>{}</svg>').format(
        line, Markup("").join(dots)
    )


def share_bar(part: float, kind: str = "") -> Markup:
    """A share between 0 and 1 as a bar of fixed length. Without a style, which the page's policy forbids."""
    width = f"{max(0.0, min(1.0, part if math.isfinite(part) else 0.0)) * 100:.1f}%"
    return Markup('<svg class="share {}" aria-hidden="true"><rect width="{}" height="100%"/></svg>').format(kind, width)


def as_id(name: str) -> str:
    """The same letters for the same name, for the id of what tells of it: so a browser knows it wherever it stands."""
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()


FILTERS: Final[dict[str, Any]] = {
    "ago": ago,
    "as_id": as_id,
    "as_title": as_title,
    "count": quantities.count,
    "counted": quantities.counted,
    "cut": cut,
    "duration": duration,
    "duration_of_nano": duration_of_nano,
    "hint": hint,
    "lapse": lapse,
    "moment": moment,
    "moment_of_seconds": moment_of_seconds,
    "period": period,
    "rate": rate,
    "share": share,
    "share_bar": share_bar,
    "shown": shown,
    "shown_lines": shown_lines,
    "shown_name": shown_name,
    "size": size,
    "signed_duration": signed_duration,
    "sparkline": sparkline,
}
"""By their names in templates."""
