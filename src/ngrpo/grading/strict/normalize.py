r"""One spelling for answers that differ only in how they are typeset.

`RULES` lists the rules in the order in which they are applied; each is a small function that is certain by
itself: nothing here guesses what an answer may have meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_SYMBOLS = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "−": "-", "–": "-", "π": r"\pi ", "∞": r"\infty ",
    "∪": r"\cup ", "∩": r"\cap ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "∈": r"\in ",
    "∀": r"\forall ", "∃": r"\exists ", "°": r"^\circ ", "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "′": "'", "’": "'", "≈": r"\approx ", "∨": r"\lor ",
    "∧": r"\land ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ",
    "λ": r"\lambda ", "μ": r"\mu ", "ω": r"\omega ", "φ": r"\varphi ", "ϕ": r"\phi ", "ρ": r"\rho ", "σ": r"\sigma ",
    "∠": r"\angle ", "△": r"\triangle ", "…": r"\ldots ", "、": ",", "\u00a0": " ", "\u200b": "",
}  # fmt: skip
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
_TABLE = str.maketrans(_SYMBOLS | {chr(code): mark for code, mark in _WIDE.items()})
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n", strict=True))
_ALIASES = {
    "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">", "colon": ":",
    "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "varnothing": "emptyset", "dfrac": "frac", "tfrac": "frac",
    "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]",
    "textstyle": "", "displaystyle": "", "scriptstyle": "", "limits": "", "nolimits": "", "quad": " ", "qquad": " ",
    "left": "", "right": "", "middle": "", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "",
    "Bigl": "", "Bigr": "", "biggl": "", "biggr": "", "Biggl": "", "Biggr": "", "tg": "tan", "ctg": "cot",
    "arctg": "arctan", "rm": "", "bf": "", "it": "", "cdots": "ldots", "dots": "ldots", "degrees": "degree",
    "or": "lor", "vee": "lor", "hfill": "", "lfbrace": "", "space": " ", "thinspace": " ", "boldsymbol": "mathbf",
    "setminus": "setminus", "backslash": "setminus",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)[ \t\n]*")
_MARKS = frozenset("<>:|[]")
# The first alternative keeps a line break of a matrix in one piece: its second backslash begins nothing.
_THIN_SPACE = re.compile(r"(\\\\)|\\[,;: >/]|~")
_PHANTOM = re.compile(r"\\[hv]?phantom(?![A-Za-z])\s*(?:\{[^{}]*\}|\\[A-Za-z]+|.)")
_DAMAGED = (("\f", r"\f"), ("\t", r"\t"), ("\x08", r"\b"), ("\v", r"\v"), ("\x07", r"\a"), ("\r", r"\r"))
_DAMAGED_NAMES = re.compile(r"[\f\t\x08\v\x07\r](?=(?:rac|ext|imes|an|heta|inom|oxed|ight|ho|eta|lpha|ngle)\b)")
_DOUBLED = re.compile(
    r"\\\\(?=(?:frac|dfrac|sqrt|pi|sin|cos|tan|left|right|text|bigg?|infty|cdot|times|theta)(?![A-Za-z]))"
)
_THOUSANDS = re.compile(
    r"(?:[A-Za-z]=)?[-+]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?(?: [A-Za-z ]+|\\text\{[A-Za-z ]*\})?"
)
_SPACED_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?")
_TYPED = (("<=", r"\le "), (">=", r"\ge "), ("!=", r"\ne "))
_HTML = re.compile(r"<(sup|sub)>([^<]{0,40})</\1>")
_SPACE = re.compile(r"\s+")
# White space between two letters or digits means something ("3 1/2", "\pi r"); next to anything else it does not.
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")
_WITH_ARGUMENTS = re.compile(r"\\(frac|binom|sqrt)(?![A-Za-z])\s*")
_ARGUMENT = re.compile(r"\s*(\{|[0-9A-Za-z]|\\[A-Za-z]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TEXT = re.compile(
    r"\\(?:text(?:rm|bf|it|sf|tt|normal)?|mathrm|mathbf|mathit|mathsf|mbox|operatorname\*?|mathop)\s*\{([^{}]*)\}"
)
_NAMED = re.compile(
    r"\\(?:text|mathrm|operatorname\*?|mathop)\s*\{\s*(sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan)\s*\}"
)


def repaired_escapes(text: str) -> str:
    r"""Commands broken by careless JSON: a form feed and `rac` is `\frac`, `\\pi` outside a matrix is `\pi`."""
    if _DAMAGED_NAMES.search(text):
        for character, command in _DAMAGED:
            text = re.sub(f"[{character}](?=[a-z])", lambda _, command=command: command, text)  # type: ignore[misc]
    return text if r"\begin" in text else _DOUBLED.sub(lambda _: "\\", text)


def plain_symbols(text: str) -> str:
    r"""Full-width characters and mathematical symbols of Unicode as LaTeX: `２≤x` is `2\le x`, `x²` is `x^{2}`."""
    text = re.sub("√([0-9a-zA-Z])", r"\\sqrt{\1}", text).replace("√", r"\sqrt")
    text = re.sub(
        f"[{''.join(_RAISED)}]+", lambda found: "^{" + "".join(map(_RAISED.__getitem__, found[0])) + "}", text
    )
    return text.translate(_TABLE)


def html_scripts(text: str) -> str:
    """`3<sup>x</sup>` is `3^{x}`."""
    return _HTML.sub(lambda found: ("^{" if found[1] == "sup" else "_{") + found[2] + "}", text)


def no_delimiters(text: str) -> str:
    r"""Dollar signs and `\(`, `\[` mark mathematics and mean nothing; an escaped dollar is a currency and goes too."""
    return re.sub(r"(\\\\)|\\[()\[\]]|\\?\$", lambda found: found[1] or "", text)


def thousands(text: str) -> str:
    r"""`10{,}000` and `32,\!348` are one number."""
    return re.sub(r"(?<=[0-9])(?:\{,\}(?:\\!)?|,\\!|\\,|\\ )(?=[0-9]{3}(?![0-9]))", "", text).replace(r"\!", "")


def whole_thousands(text: str) -> str:
    """`1,234`, `1 234` and `x=1,234` are one number, where nothing else is there: in a list the comma separates."""
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def thin_spaces(text: str) -> str:
    r"""`\,`, `\;`, `~` are white space."""
    return _THIN_SPACE.sub(lambda found: found[1] or " ", text)


def typed_relations(text: str) -> str:
    r"""`<=`, `>=` and `!=` are `\le`, `\ge` and `\ne`."""
    for typed, command in _TYPED:
        text = text.replace(typed, command)
    return text


def no_phantoms(text: str) -> str:
    r"""`\phantom{-}1` shows a 1 and a gap."""
    return _PHANTOM.sub("", text)


def one_name(text: str) -> str:
    r"""Commands that mean the same have one name, those of layout none: `\dfrac` is `\frac`, `\leq` is `\le`."""
    return _COMMAND.sub(_renamed, text)


def _renamed(found: re.Match[str]) -> str:
    name = found[1]
    other = _ALIASES.get(name)
    spaced = " " if found[0][-1].isspace() else ""
    if other is None:
        return "\\" + name + spaced
    if not other or other in _MARKS or other == " ":
        return other
    return "\\" + other + ("" if other in "{}" else spaced)


def function_names(text: str) -> str:
    r"""`\text{sin}` and `\operatorname{sin}` are `\sin`."""
    return _NAMED.sub(r"\\\1 ", text)


def one_text(text: str) -> str:
    r"""`\mathrm{...}`, `\textbf{...}`, `\mbox{...}` are `\text{...}`; around a single letter they are nothing."""

    def plain(found: re.Match[str]) -> str:
        inside = found[1]
        single = len(inside.strip()) == 1 and not found[0].startswith((r"\text", r"\mbox"))
        return inside.strip() if single else r"\text{" + inside + "}"

    return _TEXT.sub(plain, text)


def braced_arguments(text: str) -> str:
    r"""`\frac12` is `\frac{1}{2}`, `\sqrt2` is `\sqrt{2}`."""
    for found in reversed(list(_WITH_ARGUMENTS.finditer(text))):
        position = found.end()
        if found[1] == "sqrt" and text[position : position + 1] == "[":
            position = text.find("]", position) + 1 or position
        for _ in range(1 if found[1] == "sqrt" else 2):
            text, position = _braced(text, position)
    return text


def _braced(text: str, position: int) -> tuple[str, int]:
    """The text with braces around the argument that begins at a position, and where that ends."""
    argument = _ARGUMENT.match(text, position)
    if argument is None:
        return text, position
    begin, end = argument.span(1)
    if argument[1] == "{":
        return text, closing_brace(text, begin)
    for _ in range({"sqrt": 1, "frac": 2, "binom": 2}.get(argument[1][1:], 0)):
        end = closing_brace(text, end)
    return f"{text[:begin]}{{{text[begin:end]}}}{text[end:]}", end + 2


def closing_brace(text: str, opening: int) -> int:
    """Returns where a group in braces ends (behind its closing brace), the length of the text if it never does."""
    depth = 0
    for found in _BRACE.finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth <= 0:
            return found.end()
    return len(text)


def short_scripts(text: str) -> str:
    r"""`x^{2}` is `x^2`, `a_{n}` is `a_n`, `^{\circ}` is `^\circ`."""
    text = re.sub(r"\^\s*\{\s*(\\circ|\\prime)\s*\}", r"^\1", text).replace(r"^\prime", "'")
    return re.sub(r"([\^_])\s*\{\s*([0-9A-Za-z])\s*\}", r"\1\2", text)


def percent_sign(text: str) -> str:
    r"""`\%` is `%`."""
    return text.replace(r"\%", "%").replace(r"\degree", r"^\circ")


def no_loose_space(text: str) -> str:
    """White space that separates nothing goes."""
    return _LOOSE_SPACE.sub("", _SPACE.sub(" ", text)).strip()


def no_full_stops(text: str) -> str:
    """A full stop that no digit follows is punctuation: `5.` is `5`, `(1,2.]` is `(1,2]`."""
    return re.sub(r"(?<!\.)\.(?!\s*(?:[0-9.]|\\(?:overline|dot|bar)))", "", text).rstrip(",;:\\ ")


def outer_braces(text: str) -> str:
    """A group around everything means nothing: `{5}` is `5`."""
    while text.startswith("{") and text.endswith("}") and closing_brace(text, 0) == len(text):
        text = text[1:-1].strip()
    return text


RULES: tuple[Callable[[str], str], ...] = (
    repaired_escapes,
    html_scripts,
    plain_symbols,
    no_delimiters,
    thousands,
    thin_spaces,
    typed_relations,
    no_phantoms,
    one_name,
    function_names,
    one_text,
    percent_sign,
    short_scripts,
    braced_arguments,
    no_loose_space,
    whole_thousands,
    no_full_stops,
    outer_braces,
)
"""The rules of spelling, in the order in which they are applied."""


@lru_cache(maxsize=4096)
def normalize_answer(answer: str) -> str:
    r"""Returns an answer without what only changes its look on the page: the `RULES`, one after the other.

    >>> normalize_answer(r"$\left( 3,\, \dfrac12 \right)$.")
    '(3,\\frac{1}{2})'
    """
    for rule in RULES:
        answer = rule(answer)
    return answer
