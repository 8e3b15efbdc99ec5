r"""Times of day: `9\text{ p.m.}`, `4:30 PM`, `20:34`, `noon`."""

from __future__ import annotations

import re
from typing import NamedTuple

from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.quantities import quantity
from ngrpo.grading.strict.words import unmarked

_CLOCK = re.compile(
    r"(?P<hour>[0-9]{1,2})(?:(?P<mark>[:.])(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?)?\s*(?:o'?clock)?,?\s*"
    r"(?:(?P<half>[ap])\.?\s?m\.?|in the (?P<part>morning|afternoon|evening)|(?P<night>at night)"
    r"|(?P<named>noon|midnight))?",
    re.IGNORECASE,
)
_NAMED = {"noon": (12, "p"), "midnight": (12, "a"), "12 noon": (12, "p"), "12 midnight": (12, "a")}


class Clock(NamedTuple):
    """A time of day in seconds since midnight; `half` is a, p, or "" where neither a.m. nor p.m. is written."""

    seconds: int
    half: str
    minutes_written: bool


def clock(text: str) -> Clock | None:
    r"""Returns the time of day that a text is, or None; a bare `20:34` is one, a bare `9` is not.

    >>> clock(r"4:30\text{ p.m.}"), clock("20:34").half, clock("9"), clock("25:00")
    (Clock(seconds=59400, half='p', minutes_written=True), '', None, None)
    """
    plain = " ".join(unmarked(text).split()).casefold().rstrip(".")
    named = _NAMED.get(plain)
    if named:
        return Clock(0 if named[1] == "a" else 12 * 3600, named[1], True)
    found = _CLOCK.fullmatch(plain)
    if found is None:
        return None
    half = found["half"] or {"morning": "a", "afternoon": "p", "evening": "p"}.get(found["part"] or "", "")
    half = half or ("p" if found["night"] or found["named"] == "noon" else "a" if found["named"] else "")
    hour, minute, second = int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)
    if (not half and found["mark"] != ":") or minute > 59 or second > 59 or hour > (12 if half else 24):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return Clock(hour * 3600 + minute * 60 + second, half, found["minute"] is not None)


def clocks(_: Comparer, answer: str, reference: str) -> Finding | None:
    """Times are equal to the second. Where one side leaves out a.m. or p.m., the hour may be of 12 or of 24."""
    if not (_may_be_clock(answer) or _may_be_clock(reference)):
        return None
    ours, theirs = clock(answer), clock(reference)
    if ours is None or theirs is None:
        return _hour_alone(ours or theirs, reference if ours else answer)
    if ours.half and theirs.half:
        return Finding(ours.seconds == theirs.seconds, "clock")
    if ours.half or theirs.half:
        return Finding((ours.seconds - theirs.seconds) % (12 * 3600) == 0 and _agree(ours, theirs), "clock")
    return Finding(ours.seconds == theirs.seconds, "clock")


def _agree(ours: Clock, theirs: Clock) -> bool:
    """An hour above 12 is one of 24 hours, and then its half of the day counts."""
    bare, marked = (theirs, ours) if ours.half else (ours, theirs)
    return bare.seconds == marked.seconds or 3600 <= bare.seconds < 13 * 3600


def _hour_alone(marked: Clock | None, other: str) -> Finding | None:
    r"""`9` beside `9\text{ a.m.}` leaves out what a unit would be; anything else is no time."""
    if marked is None or not marked.half:
        return None
    if quantity(other).unit:
        return Finding(False, "clock")
    if not re.fullmatch("[0-9]{1,2}", other):
        return None
    hour = marked.seconds / 3600
    return Finding(int(other) in (hour, hour % 12 or 12), "clock")


def _may_be_clock(text: str) -> bool:
    return len(text) < 60 and (":" in text or re.search("m|noon|clock|night", text, re.IGNORECASE) is not None)
