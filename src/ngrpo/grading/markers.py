r"""Declarations of an answer without a box: "the answer is", `#### `, `<answer>...</answer>`, headings, Chinese forms.

The last declaration counts, so that they are searched from the end; the effort is bounded by the constants below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ngrpo.grading.declared import Declared, read_declared

MARKER_WINDOW = 50_000
"""Characters at the end of a completion in which markers are searched."""
MAX_MARKERS = 100
"""Markers that are read, from the end, until one declares an answer."""
MAX_ANCHORS = 2_000
"""Places that are looked at, from the end, whether they hold a marker."""
LONGEST_TAGGED = 2_000
"""Most characters between `<answer>` and `</answer>`."""


class Marker(NamedTuple):
    r"""A text that announces an answer: `anchor`, in any case, between what `before` and `after` match.

    `before` is matched against the text up to the anchor (its pattern ends in `\Z`); the answer begins where `after`
    ends. A group `verb` in `after` marks a sentence ("the answer is"), where "correct" is no answer.
    """

    anchor: str
    before: re.Pattern[str]
    after: re.Pattern[str]
    example: str


_ANYTHING = re.compile(r"\Z")
_NOTHING = re.compile("")
_ANNOUNCES = re.compile(r"(?<![A-Za-z])\Z")
_LINE_BEGINS = re.compile(
    r"(?:\A|\n)[ \t#>*_]*(?:(?:step\s+)?[0-9]+\s*[.:)][ \t*_]*)?(?:(?:the|my|our)\s+)?(?:(?:final|correct)\s+)?\Z", re.I
)
_AFTER_ANSWER = re.compile(
    r"s?[*_`\"”}]{0,3}(?:\s*\([^()\n]{1,40}\)|,?\s+(?:to|of|for|in|as)\s[^.:;\n$\\=]{1,60}?,?)?[*_`]{0,3}"
    r"(?:\s*[:：=]|\s+(?P<verb>(?:is|are)(?:n['’]t| not)?|can(?:not|'t|’t) be|equals)(?![A-Za-z]))",
    re.IGNORECASE,
)
MARKERS: tuple[Marker, ...] = (
    Marker("answer", _ANNOUNCES, _AFTER_ANSWER, "The final answer is 42. **Answer**: 42"),
    Marker("answer", _LINE_BEGINS, re.compile(r"s?[ \t:：*_]*\r?\n", re.I), "## Final Answer\n42"),
    Marker("answer", _LINE_BEGINS, re.compile(r"s?[ \t]+(?=\$|\\[(\[])", re.I), r"Answer \( 42 \)"),
    Marker("correct option is", _ANNOUNCES, _NOTHING, "The correct option is B."),
    Marker("correct choice is", _ANNOUNCES, _NOTHING, "The correct choice is B."),
    Marker("####", re.compile(r"(?<!#)\Z"), re.compile("(?!#)"), "#### 42"),
    Marker("</answer>", _ANYTHING, _NOTHING, "<answer>42</answer>"),
    Marker("答案", _ANYTHING, re.compile(r"[*_\s]{0,3}(?:应该?)?[是为选：:=】]|[ \t*_]*\r?\n"), "最终答案：42"),
    Marker("答", _ANYTHING, re.compile("[：:]"), "答：42"),
    Marker("正确选项", _ANYTHING, re.compile("[是为：:]"), "正确选项是B"),
    Marker("故选", _ANYTHING, re.compile("[择项]?[：:]?"), "故选B"),
)
"""What announces an answer; a user's own markers are plain texts that are added to these."""

# What is assumed, asked or called wrong is not declared.
_NOT_DECLARED = re.compile(
    r"(?<![A-Za-z])(?:(?:if|whether|suppose|supposing|assume|assuming|imagine|unless)\s+(?:that\s+)?(?:\w+\s+){0,3}"
    r"|(?:wrong|incorrect|false|possible|tempting|trap|previous|old|initial|example|sample)\s+)\Z",
    re.IGNORECASE,
)
_THIS = re.compile(r"(?<![A-Za-z])(?:this|that|my)\s+(?:\w+\s+)?\Z", re.IGNORECASE)
_CALLED_WRONG = re.compile(r"\s*(?:wrong|incorrect|not (?:right|correct|valid))(?![A-Za-z])", re.IGNORECASE)
# Only ASCII letters: the lower case of some others has another length, and positions must stay what they are.
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def marked_answer(text: str, markers: Sequence[str] = ()) -> str | None:
    r"""Returns what the last declaration declares, None where there is none.

    One that declares nothing ("the answer is correct") is passed over, as is one that is asked, denied or taken back;
    what was denied does not count where it was declared before either.

    Args:
        text: a completion, any length.
        markers: plain texts that announce an answer too, in any case.

    >>> marked_answer("6 + 6 = 12\n#### 12"), marked_answer("**Final answer:** $x = 5$, as above.")
    ('12', 'x = 5')
    >>> marked_answer("The answer is 5. No, the answer is not 5."), marked_answer("Mine: 7", ["mine:"])
    (None, '7')
    """
    text = text[-MARKER_WINDOW:]
    denied: set[str] = set()
    skipped = 0
    for tried, (at, marker, after) in enumerate(_from_the_end(text, tuple(markers))):
        if tried == MAX_MARKERS:
            break
        before = text[max(0, at - 80) : at]
        if _NOT_DECLARED.search(before):
            continue
        verb = after.groupdict().get("verb")
        if verb and _THIS.search(before) and _CALLED_WRONG.match(text, after.end()):
            skipped += 1
            continue
        found = _tagged(text, at) if marker.anchor == "</answer>" else _declared(text, marker, after)
        if found is None:
            continue
        if not found.holds or (verb and verb[-2:] in ("ot", "'t", "’t", "be")):
            denied.add(found.answer)
        elif skipped:
            skipped -= 1
        elif found.answer not in denied:
            return found.answer
    return None


def _from_the_end(text: str, own: tuple[str, ...]) -> Iterator[tuple[int, Marker, re.Match[str]]]:
    """Yields the place, the marker and what follows its anchor, the last in the text first."""
    lower = _lower_case(text)
    table = _table(own)
    places = {anchor: lower.rfind(anchor) for anchor in table}
    for _ in range(MAX_ANCHORS):
        at = max(places.values())
        if at < 0:
            return
        for anchor in [name for name, place in places.items() if place == at]:
            before = text[max(0, at - 80) : at]
            for marker in table[anchor]:
                after = marker.after.match(text, at + len(anchor))
                if after and marker.before.search(before):
                    yield at, marker, after
                    break
            places[anchor] = lower.rfind(anchor, 0, at + len(anchor) - 1)


@lru_cache(maxsize=64)
def _table(own: tuple[str, ...]) -> dict[str, list[Marker]]:
    """The markers by their anchor, a user's first."""
    mine = [Marker(_lower_case(text.strip()), _ANYTHING, _NOTHING, text) for text in own if text.strip()]
    table: dict[str, list[Marker]] = {}
    for marker in (*mine, *MARKERS):
        table.setdefault(marker.anchor, []).append(marker)
    return table


def _lower_case(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _declared(text: str, marker: Marker, after: re.Match[str]) -> Declared | None:
    verb = bool(after.groupdict().get("verb"))
    return read_declared(text, after.end(), after_verb=verb, heading=marker.anchor == "####")


def _tagged(text: str, end: int) -> Declared | None:
    """Returns the answer between the tags that close here; it may be declared by a marker of its own."""
    start = _lower_case(text[max(0, end - LONGEST_TAGGED) : end])
    begin = start.rfind("<answer>")
    if begin < 0:
        return None
    inside = text[end - len(start) + begin + len("<answer>") : end]
    if "</answer>" in start[begin:]:
        return None
    answer = marked_answer(inside)
    return Declared(answer) if answer is not None else read_declared(" ".join(inside.split()), 0)
