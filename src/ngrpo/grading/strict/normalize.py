r"""One spelling for answers that differ only in how they are typeset.

`RULES` lists the rules in the order in which they are applied; each is a small function that is certain by
itself: nothing here guesses what an answer may have meant. Where a spelling has two readings, the mark of the
choice stays in the text (`readings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ngrpo.grading.strict.groups import braced_arguments, infix_commands, no_frames, outer_braces
from ngrpo.grading.strict.symbols import ALIASES, latex_of_symbols
from ngrpo.grading.strict.texts import function_names, moduli, one_text

AMBIGUOUS_COMMA = "{,}"
"""A comma that separates thousands or the elements of a list: `1,100` is 1100 or 1 and 100."""

_COMMAND = re.compile(r"\\([A-Za-z]+)[ \t\n]*")
_MARKS = frozenset("<>:|[]€£￥")
_NOTHING_AT_A_SIDE = re.compile(r"\\(?:left|right)\s*\.")
# The first alternative keeps a line break of a matrix in one piece: its second backslash begins nothing.
_THIN_SPACE = re.compile(r"(\\\\)|\\[,;: >/]|~")
_UNSEEN = re.compile(
    r"\\[hv]?phantom(?![A-Za-z])\s*(?:\{[^{}]*\}|\\[A-Za-z]+|.)|\\(?:hspace|vspace|hskip|label|tag|color)\*?\s*\{[^{}]*\}"
)
_DAMAGED = (("\f", r"\f"), ("\t", r"\t"), ("\x08", r"\b"), ("\v", r"\v"), ("\x07", r"\a"), ("\r", r"\r"))
_DAMAGED_NAMES = re.compile(r"[\f\t\x08\v\x07\r](?=(?:rac|ext|imes|an|heta|inom|oxed|ight|ho|eta|lpha|ngle)\b)")
_DOUBLED = re.compile(
    r"\\\\(?=(?:[dt]?frac|sqrt|pi|sin|cos|tan|ln|log|left|right|text|bigg?|infty|cdot|times|theta|alpha|beta|[lg]eq?|neq?|in"
    r"|pm|cup|cap|circ|binom|quad|mathbb|mathrm|angle|le?ft|boxed|overline|sum|int|lim|to|equiv|pmod)(?![A-Za-z]))"
)
_THOUSANDS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2}(?:,[0-9]{3})+)(?![0-9]|,[0-9])")
_SPACED_THOUSANDS = re.compile(r"([-+]?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?)( [A-Za-z ]+|\\text\{[A-Za-z ]*\})?")
_TYPED = (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne "), (r"\not=", r"\ne "), (r"\not\in", r"\notin "))
_TYPED_CHOICE = re.compile(r"\A\s*([A-Ha-h])(?:\.\s+|\)\s*)(?=\S)")
_HTML = re.compile(r"<(sup|sub)>([^<]{0,40})</\1>")
_SPACE = re.compile(r"\s+")
# White space between two letters or digits means something ("3 1/2", "\pi r"); next to anything else it does not.
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
_BLACKBOARD = re.compile(r"\\(?:mathbb|Bbb)\s*\{?\s*([RNZQC])\s*\}?|\\([RNZQ])(?![A-Za-z])")
_LEAD_IN = re.compile(r"(?:\\(?:therefore|because|Rightarrow|to|iff|Leftrightarrow|ie)(?![A-Za-z])|=|:)\s*(?=[^\s=])")


def repaired_escapes(text: str) -> str:
    r"""Commands broken by careless JSON: a form feed and `rac` is `\frac`, `\\pi` outside a matrix is `\pi`."""
    if _DAMAGED_NAMES.search(text):
        for character, command in _DAMAGED:
            text = re.sub(f"[{character}](?=[a-z])", lambda _, command=command: command, text)  # type: ignore[misc]
    return text if r"\begin" in text else _DOUBLED.sub(lambda _: "\\", text)


def plain_symbols(text: str) -> str:
    r"""Full-width characters and mathematical symbols of Unicode as LaTeX: `２≤x` is `2\le x`, `x²` is `x^{2}`."""
    return latex_of_symbols(text)


def html_scripts(text: str) -> str:
    """`3<sup>x</sup>` is `3^{x}`."""
    return _HTML.sub(lambda found: ("^{" if found[1] == "sup" else "_{") + found[2] + "}", text)


def no_delimiters(text: str) -> str:
    r"""Dollar signs in pairs and `\(`, `\[` mark mathematics and mean nothing; `\$5` and a single `$5` are money."""
    text = re.sub(r"(\\\\)|\\[()\[\]]", lambda found: found[1] or "", text)
    if len(re.findall(r"(?<!\\)\$", text)) == 1:
        text = re.sub(r"(?<![\\0-9])\$(?=\s*[0-9.])", r"\\$", text)
    return re.sub(r"(\\\$)|\$", lambda found: found[1] or "", text)


def thousands(text: str) -> str:
    r"""`10{,}000` and `32,\!348` are one number; a mark alone in braces, as in `9{:}30`, stands as without them."""
    text = re.sub(
        r"\s*(?<![A-Za-z])\{\s*([,:=+<>-])\s*\}\s*", lambda found: "{,}" if found[1] == "," else found[1], text
    )
    return re.sub(r"(?<=[0-9])(?:\{,\}(?:\\!)?\s?|,\\!\s?|\\,|\\ )(?=[0-9]{3}(?![0-9]))", "", text).replace(r"\!", "")


def typed_commas(text: str) -> str:
    r"""`1,234` keeps both its readings; in a group, as in `\frac{1,000}{3}`, no list can stand, so it is one number.

    A blank behind the comma makes a list, and so do brackets around: `10, 200`, `(1,234)`.
    """
    if _SPACED_THOUSANDS.fullmatch(text):
        text = re.sub("(?<=[0-9]) (?=[0-9])", "", text)
    if "," not in text:
        return text

    def marked(found: re.Match[str]) -> str:
        around = _bracket_around(text, found.start())
        if around in ("(", "[", r"\{"):
            return found[0].replace(",", "") if ",0" in found[0] else found[0]  # no coordinate begins with a zero
        return found[0].replace(",", AMBIGUOUS_COMMA if not around else "")

    return _THOUSANDS.sub(marked, text)


def _bracket_around(text: str, position: int) -> str:
    """The innermost bracket that is open at a position, "" for none."""
    opened: list[str] = []
    for found in re.finditer(r"\\[{}]|[()\[\]{}]", text[:position]):
        if found[0] in ("(", "[", "{", r"\{"):
            opened.append(found[0])
        elif opened:
            opened.pop()
    return opened[-1] if opened else ""


def thin_spaces(text: str) -> str:
    r"""`\,`, `\;`, `~` are white space."""
    return _THIN_SPACE.sub(lambda found: found[1] or " ", text)


def typed_choice(text: str) -> str:
    """`B. 12` and `B) 12` are `(B) 12`."""
    return _TYPED_CHOICE.sub(r"(\1) ", text)


def typed_relations(text: str) -> str:
    r"""`<=`, `>=` and `!=` are `\le`, `\ge` and `\ne`; three dots in a list are `\ldots`."""
    if "..." in text:
        text = re.sub(r"(?<![0-9.])\.\.\.+", r"\\ldots ", text)
    for typed, command in _TYPED:
        if typed in text:
            text = text.replace(typed, command)
    return text


def no_phantoms(text: str) -> str:
    r"""`\phantom{-}1` shows a 1 and a gap; colours and tags show no more."""
    return _UNSEEN.sub("", text) if "\\" in text else text


def one_name(text: str) -> str:
    r"""Commands that mean the same have one name, those of layout none: `\dfrac` is `\frac`, `\leq` is `\le`."""
    return _COMMAND.sub(_renamed, _NOTHING_AT_A_SIDE.sub("", text))


def _renamed(found: re.Match[str]) -> str:
    name = found[1]
    other = ALIASES.get(name)
    spaced = " " if found[0][-1].isspace() else ""
    if other is None:
        return "\\" + name + spaced
    if not other or other in _MARKS or other == " ":
        return other
    return "\\" + other + ("" if other in "{}$" else spaced)


def number_sets(text: str) -> str:
    r"""`\mathbb R` and `\R` are `\mathbb{R}`."""
    text = text.replace(r"\mathbf{R}", r"\mathbb{R}")
    return _BLACKBOARD.sub(lambda found: rf"\mathbb{{{found[1] or found[2]}}}", text)


def short_scripts(text: str) -> str:
    r"""`x^{2}` is `x^2`, `a_{n}` is `a_n`, `^{\circ}` is `^\circ`."""
    text = re.sub(r"\^\s*\{?\s*(?:\\text\{\s*o\s*\}|\\circ(?![a-z])|\\degree(?![a-z]))\s*\}?", r"^\\circ ", text)
    text = re.sub(r"\^\s*(?:\{\s*((?:\\prime\s*)+)\s*\}|(\\prime)(?![a-z]))", _primes, text)
    text = re.sub(r"(?<=[-+=(\[,<>])\{\s*\\infty\s*\}", r"\\infty", text)
    return re.sub(r"([\^_])\s*\{\s*([0-9A-Za-z])\s*\}", r"\1\2", text)


def _primes(found: re.Match[str]) -> str:
    return "'" * found[0].count("prime")


def percent_sign(text: str) -> str:
    r"""`\%` is `%`, `\degree` is `^\circ`."""
    return text.replace(r"\%", "%").replace(r"\degree", r"^\circ ")


def no_loose_space(text: str) -> str:
    """White space that separates nothing goes."""
    return _LOOSE_SPACE.sub("", _SPACE.sub(" ", text)).strip()


def no_full_stops(text: str) -> str:
    """A full stop that no digit follows is punctuation: `5.` is `5`, `(1,2.]` is `(1,2]`; in words it stays."""
    if r"\text" not in text:
        text = re.sub(r"(?<!\.)\.(?!\s*(?:[0-9.(]|\\(?:overline|dot|bar|ldots)|[A-Za-z]))", "", text)
    return re.sub(r"(?<!\.)\.$", "", text).rstrip(",;:\\ ")


def no_lead_ins(text: str) -> str:
    r"""`\therefore x=5` is `x=5`, `=5` is `5`."""
    found = _LEAD_IN.match(text)
    text = re.sub(r"\A([a-z])\\mapsto\s*(?=\S)", r"f(\1)=", text)
    return no_lead_ins(text[found.end() :]) if found and found.end() < len(text) else text


RULES: tuple[Callable[[str], str], ...] = (
    repaired_escapes,
    html_scripts,
    plain_symbols,
    no_delimiters,
    thousands,
    thin_spaces,
    typed_choice,
    typed_relations,
    no_phantoms,
    one_name,
    function_names,
    number_sets,
    no_frames,
    one_text,
    percent_sign,
    short_scripts,
    infix_commands,
    braced_arguments,
    moduli,
    typed_commas,
    no_loose_space,
    no_full_stops,
    no_lead_ins,
    outer_braces,
)
"""The rules of spelling, in the order in which they are applied."""


@lru_cache(maxsize=4096)
def normalize_answer(answer: str) -> str:
    r"""Returns an answer without what only changes its look on the page: the `RULES`, one after the other.

    >>> normalize_answer(r"$\left( 3,\, \dfrac12 \right)$.")
    '(3,\\frac{1}{2})'
    """
    if answer.isalnum() and answer.isascii():
        return answer
    for rule in RULES:
        answer = rule(answer)
    return answer


def readings(text: str) -> tuple[str, ...]:
    r"""Returns what a normalised text may mean: with a comma of thousands or of a list, one number first.

    >>> readings("1{,}100"), readings("5")
    (('1100', '1,100'), ('5',))
    """
    if AMBIGUOUS_COMMA not in text:
        return (text,)
    return text.replace(AMBIGUOUS_COMMA, ""), text.replace(AMBIGUOUS_COMMA, ",")
