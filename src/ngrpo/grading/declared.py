r"""Read what follows a declaration such as "the answer is": a formula, a list or words, without the prose around it.

The rules are general and bounded: at most `LONGEST_FORMULA` characters are read, each a fixed number of times.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST_FORMULA = 2_000
"""Most characters of a declared formula."""
LONGEST_SENTENCE = 500
"""Most characters of a declared answer in plain text."""

ADVERBS = (
    "approximately|about|around|roughly|exactly|precisely|simply|just|therefore|thus|hence|so|then|indeed|clearly|"
    "actually|obviously|definitely|certainly|again|in fact|of course|finally|equal to|either|约为?|大约"
)
"""Words before an answer that mean nothing to a comparison."""
UNITS = (
    r"%|\\%|°C?|(?:[mck]?m|ft|in(?=\s*(?:[.,;)]|\Z))|inch(?:es)?|feet|foot|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?)"
    r"(?:\^?\{?[23]\}?|[²³])?(?![A-Za-z])"
    r"|(?:(?:square|cubic|sq\.?)\s+)?(?:units?|cm|mm|km|m|feet|inches|(?:centi|milli|kilo)?met(?:er|re)s?|miles|yards)"
    r"(?![A-Za-z])|(?:degrees?|radians?|percent|dollars?|cents?|euros?|pounds?|yuan|seconds?|minutes?|hours?|days?|"
    r"weeks?|months?|years?|lit(?:er|re)s?|grams?|(?:m|k)g|kilograms?|tons?|tonnes?|mph|km/h|m/s|joules?|newtons?|"
    r"watts?|ohms?|volts?|h|s|g|L|ml|mL|[ap]\.m\.|[ap]m|AM|PM|hundred|thousand|million|billion|trillion|dozen)"
    r"(?![A-Za-z])"
)
"""A pattern of the units that belong to the formula before them; other words after a formula are prose."""

_MATHEMATICS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_END_OF_TURN = re.compile(
    r"<\|[A-Za-z0-9_]{1,30}\|>|<｜[^｜>]{1,40}｜>|</?s>|<eos>|<pad>|<(?:end|start)_of_turn>|</?think>|</answer>"
    r"|\[/INST\]|<\|$"
)
_CHOICE = (
    r"(?:option|choice|letter|选项?)\s*(?=[^A-Za-z0-9\s]{0,6}(?:(?:text|math)[a-z]{0,6}\W{1,3})?[A-Za-z](?![A-Za-z]))"
)
_LEAD = re.compile(rf"(?:[\s,:：=≈→*_`\"'“”‘’«»„…}}】]|\.\.+|(?:{ADVERBS})(?![A-Za-z])[ ,]*|{_CHOICE})*", re.IGNORECASE)
_NOT = re.compile(r"(?:not|neither|no longer)\s+(?=[-0-9$\\(]|[A-Za-z](?![A-Za-z]))", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"(?:(?:not |in)?(?:correct|valid|right)|wrong|as follows|given|based|found|obtained|determined|calculated|computed"
    r"|derived|shown|independent|consistent|unique|clear|obvious|verified|confirmed|reasonable|(?:un)?known|unclear"
    r"|in (?:the|a|terms|its|simplest|this)|the same|one of|expressed|to be|that|what|already|also|still|supposed"
    r"|expected|required|within|below|above|here|likely|different)(?![A-Za-z])",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:steps?|parts?|case|method|solution|conclusion|explanation|verification|check|note|summary|final|approach"
    r"|analysis|answer)(?![A-Za-z])",
    re.IGNORECASE,
)
_EQUIVALENTLY = "(?:equivalently|simply|just|about|approximately|roughly|in other words)"
_BULLET = re.compile(r"\n[ \t]*[-•+][ \t]+")
_CUT_OFF = re.compile(r"\\[(\[]|\$\$|\$(?![-+ ]*[0-9])[^$]*\Z")
_ASKED = re.compile(r"[\s*_`\"”)]*[?？]")
_TAKEN_BACK = re.compile(
    r"[\s.,;!?。？！*_`\"”)(—–-]*(?:(?:hmm+|wait|oh|oops|but|well)[\s,.!—–-]*)*"
    r"(?:no(?=\s*[,.!;:—–-]|\s+(?:it|that|the answer|wait)(?![a-z]))|that(?:'s|’s| is| was) (?:not|wrong|incorrect)"
    r"|scratch that|oops|sorry|correction|i (?:made|was wrong)|actually[\s,]*(?:no|it|[-\d$\\])"
    r"|or (?:maybe|perhaps|possibly|is it))(?![A-Za-z]{2})|[\s.,;。，]*(?:不对|不是|错了)",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"[\s,;(（，—–-]*(?:(?:but|and)[\s,]+)*(?:(?:maybe|perhaps|possibly|(?:it )?(?:could|might|may))(?![a-z])"
    rf"|or(?![a-z])(?!,? {_EQUIVALENTLY})|或)",
    re.IGNORECASE,
)
# Another form of the same answer follows, not another answer.
_SAME = re.compile(rf"[\s,;(]*or[\s,]+{_EQUIVALENTLY}(?![a-z])", re.IGNORECASE)
_UNIT = re.compile(rf"\s*({UNITS})")
_JOINT = re.compile(
    r"[\s*_]*[,;，、]?\s*\(?(?P<word>or|and|to|through|或者?|和|及|与|至|到)(?![A-Za-z])"
    r"(?:\s*,?\s*(?:maybe|perhaps|possibly|else|even)(?![A-Za-z])\s*,?)?\s*|\s*(?P<mark>[,;，、]|[-=≈<>≤≥/+–^×·±])\s*",
    re.IGNORECASE,
)
_LETTER = r"[A-Za-z](?=\s*(?:[=,;)!?<>^_+*/-]|[.。](?:\s|\Z)|\Z|\n)|\s+(?:and|or)\b|\()"
_ITEM = re.compile(rf"[-+−]?(?:[0-9]+(?:,[0-9]{{3}})*(?:\.[0-9]+)?(?:/[0-9]+)?|\.[0-9]+)|{_LETTER}(?:\s*=\s*[^\s,;]+)?")
_LISTED = re.compile(
    rf"\s*(?:(?:and|or|和|或)\s*(?:(?:maybe|perhaps|possibly)\s*)?)?"
    rf"(?:\\?[$(\[{{](?![a-z]{{3}})|\\[A-Za-z]|[-+−±√∞∅π€£]|\.?[0-9]|{_LETTER}|[A-Z][a-z]+(?=\s*(?:[,;.\n]|\Z)|\s+and\b))"
    r"|\s*or(?![A-Za-z])"
)
_PROSE = (
    r"\s(?=(?:because|since|as|so|which|who|thus|hence|therefore|but|due|after|rather|instead|namely|assuming|according"
    r"|considering|and (?:not|this|that|it|we|the|so|hence|thus|therefore|is|can|you|then)|by (?:the|our|using|def)"
    rf"|or,? {_EQUIVALENTLY})(?![A-Za-z]))"
)
_TOKEN = re.compile(
    r"(?P<mathematics>\$|\\[(\[])|(?P<opens>\\begin(?![A-Za-z])|[(\[{（])|(?P<closes>\\end(?![A-Za-z])|[)\]}）])"
    r"|(?P<command>\\[A-Za-z]+|\\.)|(?P<line>\n)|(?P<stop>[.!?。！？．])|(?P<comma>[,;，；])|(?P<quote>\*\*|[`\"“”])"
    r"|(?P<dash>\s(?:[—–]+|---?)\s|\s-\s(?=[A-Za-z]{3})|—)|(?P<aside>\s(?=[(（]))|(?P<prose>" + _PROSE + ")"
    r"|(?P<unit>(?<=[0-9A-Za-z)}\]%$])(?=\s?[\u4e00-\u9fff])(?!\s?[或和及与且万亿千百]))",
    re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_STOP = re.compile(r"[.!?](?=\s|\Z|[*_`\"'”’)\]]|[A-Z][a-z])(?!(?<=!)[ \t]*[-+=*/^×·<>\\])|[。！？．]")
_ASIDE = re.compile(
    r"\s[(（](?!(?:or|mod|base|and)(?![A-Za-z]))(?=[^()]{0,200}?(?:(?<![\\A-Za-z])[A-Za-z]{3}|=|[\u4e00-\u9fff]))"
)
_GOES_ON = re.compile(rf"\s*(?:[,;=]|or\b|and\b|{UNITS})")
_LABELLED = re.compile(r"[ \t]+[\w$\\-]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_COMMAND = re.compile(r"\\[A-Za-z]+\s*(?:\{[^{}]*\})?")
_LEFT_OVER = re.compile(
    r"(?:\\(?:blacksquare|square|Box|qed)|(?<!\\)[\s.,;:*_!✓✔✅☑□■∎◻。．，；：！、`\"“”‘’«»]|(?<![0-9A-Za-z)}])')+\Z"
)
_MEANS_SOMETHING = re.compile(r"[A-Za-z0-9]|[^\x00-\x7f。，；：！？、…“”‘’—–｜]")


class Declared(NamedTuple):
    """The answer that a declaration names; `holds` is False where it is denied, asked or taken back."""

    answer: str
    holds: bool = True


def read_declared(text: str, at: int, *, after_verb: bool = False, heading: bool = False) -> Declared | None:
    r"""Returns what is declared from a position on, None where that is no answer.

    Args:
        text: a completion.
        at: where the marker ends.
        after_verb: the marker ends in "is" or "are", after which "correct" or "as follows" is no answer.
        heading: the marker is `####`, after which "Step 3" is no answer either.

    >>> read_declared("is approximately **3.14**, as above", 2)
    Declared(answer='3.14', holds=True)
    >>> read_declared("$5$ or $6$.", 0), read_declared("5? No, 6", 0), read_declared("$42.", 0)
    (Declared(answer='5 or 6', holds=True), Declared(answer='5', holds=False), Declared(answer='\\$42', holds=True))
    """
    ends = _END_OF_TURN.search(text, at, at + LONGEST_FORMULA)
    text = text[at : ends.start() if ends else at + LONGEST_FORMULA]
    begin = _lead(text, 0)
    if (after_verb and _NO_ANSWER.match(text, begin)) or (heading and _HEADING.match(text, begin)):
        return None
    bullet = _BULLET.match(text, begin - 1) if begin else None
    begin = _lead(text, bullet.end()) if bullet else begin
    denied = _NOT.match(text, begin)
    if denied:
        begin = _lead(text, denied.end())
    formula = _formula(text, begin)
    if formula is None and _CUT_OFF.match(text, begin):
        return None
    answer, end = _listed(text, *formula) if formula else _plain(text, begin)
    if "'" in text[:begin]:
        answer = answer.removesuffix("'")
    if not _MEANS_SOMETHING.search(answer) or r"\boxed" in answer or (bullet and _BULLET.match(text, end)):
        return None
    return Declared(answer, not (denied or _ASKED.match(text, end) or _TAKEN_BACK.match(text, end)))


def _lead(text: str, at: int) -> int:
    found = _LEAD.match(text, at)
    return found.end() if found else at


def _formula(text: str, at: int) -> tuple[str, int] | None:
    """Returns the content and the end of the formula in delimiters that begins here, None where none does."""
    for opening, closing in _MATHEMATICS:
        if not text.startswith(opening, at):
            continue
        inside = at + len(opening)
        end = text.find(closing, inside)
        while end > 0 and text[end - 1] == "\\" and closing == "$":
            end = text.find(closing, end + 1)
        if end < 0 or (opening == "$" and _is_currency(text[inside:end], text[end + 1 : end + 2])):
            return None
        return text[inside:end].strip(), end + len(closing)
    return None


def _is_currency(content: str, following: str) -> bool:
    """Returns whether the dollar before this content is money: `$50 and $60` holds no formula."""
    if not content.strip() or content[0].isspace() != content[-1].isspace():
        return True
    if not content.lstrip("-+ ")[:1].isdigit():
        return False
    return following.isdigit() or "\n\n" in content or bool(_WORD.search(_COMMAND.sub("", content)))


def _listed(text: str, content: str, at: int) -> tuple[str, int]:
    """Returns a formula with its unit and, where it begins a choice or a list, all of that; and where it ends."""
    pieces = [content]
    while True:
        if unit := _UNIT.match(text, at):
            pieces.append(unit[1] if unit[1][0] in "%\\°" else f" {unit[1]}")
            at = unit.end()
        joint = _JOINT.match(text, at)
        if joint is None:
            break
        begin = _lead(text, joint.end())
        following = _formula(text, begin)
        if following is None and (item := _ITEM.match(text, begin)):
            following = item[0], item.end()
        mark = f" {joint['word']} " if joint["word"] else f" {joint['mark']} ".replace(" ,", ",").replace(" ;", ";")
        if following is None or _SAME.match(text, at):
            if _HEDGE.match(text, at):
                rest, at = _plain(text, begin)
                pieces.append(mark + rest)
            break
        pieces.append(mark + following[0])
        at = following[1]
    return "".join(pieces).strip().rstrip(","), at


def _plain(text: str, begin: int) -> tuple[str, int]:
    """Returns plain text up to the end of its sentence, its line or the prose after it, and where it ends."""
    answer, end, open_brackets = _until_end(text, begin, brackets=True)
    if open_brackets:
        answer, end, _ = _until_end(text, begin, brackets=False)
    answer = " ".join(answer.split()).lstrip("*_'‘’ ")
    return _LEFT_OVER.sub("", answer).strip(), end


def _until_end(text: str, begin: int, *, brackets: bool) -> tuple[str, int, bool]:
    pieces: list[str] = []
    depth, position, limit = 0, begin, min(len(text), begin + LONGEST_SENTENCE)
    while (found := _TOKEN.search(text, position, limit)) is not None:
        pieces.append(text[position : found.start()])
        kind, position = found.lastgroup, found.end()
        if kind == "mathematics":
            formula = _formula(text, found.start())
            if formula:
                pieces.append(formula[0])
                position = formula[1]
            elif found[0] == "$":
                pieces.append(r"\$" if text[position : position + 2].strip()[:1].isdigit() else "")
            continue
        if kind in ("opens", "closes") and brackets:
            if depth == 0 and kind == "closes" and _closes_all(text, begin, found):
                return "".join(pieces), found.start(), False
            depth = max(0, depth + (1 if kind == "opens" else -1))
        elif depth == 0 and kind is not None and _ends(kind, text, found):
            return "".join(pieces), found.start(), False
        if kind != "quote":
            pieces.append(found[0])
        position = max(position, found.start())
        if found.end() == found.start():  # a mark without characters, which was no end
            pieces.append(text[position : position + 1])
            position += 1
    pieces.append(text[position:limit])
    return "".join(pieces), limit, depth > 0


def _closes_all(text: str, begin: int, found: re.Match[str]) -> bool:
    """Returns whether a bracket closes one that was opened before the answer: not in `]0, 1[` and `B) 12`."""
    before = text[begin : found.start()].strip()
    return len(before) > 1 or (len(before) == 1 and not _LABELLED.match(text, found.end()))


def _ends(kind: str, text: str, found: re.Match[str]) -> bool:
    """Returns whether an answer in plain text ends at this mark outside of brackets."""
    at, after = found.start(), found.end()
    if kind in ("line", "unit"):
        return True
    if kind == "stop":
        return _STOP.match(text, at) is not None
    if kind == "quote":
        opens = at == 0 or text[at - 1].isspace() or not text[after : after + 1].strip("*_\n")
        between = found[0] == "**" and text[after : after + 1].isalnum() and text[at - 1 : at].isalnum()
        return not (opens and text[after : after + 1].strip()) and not between and not _GOES_ON.match(text, after)
    if kind == "comma":
        number = text[at - 1 : at].isdigit() and text[after : after + 1].isdigit()
        return not number and not _LISTED.match(text, after) and not _HEDGE.match(text, at)
    if kind == "aside":
        previous = text[at - 1 : at]
        return (previous.isalnum() or previous in "})]%.$*") and _ASIDE.match(text, at) is not None
    if kind in ("dash", "prose"):
        return not _HEDGE.match(text, at)
    return False
