r"""Rules of spelling about what is marked as text: words, units, function names, `mod`."""

from __future__ import annotations

import re

from ngrpo.grading.strict.symbols import ALIASES

_TEXT = re.compile(
    r"\\(?:text(?:rm|bf|it|sf|tt|normal|up|md|color)?|mathrm|mathbf|mathit|mathsf|mathtt|mbox|emph|operatorname\*?|mathop)"
    r"\s*\{((?:[^{}]|[\^_]\{[^{}]*\})*)\}"
)
_NAMED = re.compile(
    r"\\(?:text|mathrm|operatorname\*?|mathop)\s*\{\s*(?:(sin|cos|tan|cot|sec|csc|ln|log|lg|exp|cis|arcsin|arccos|arctan"
    r"|arccot|sinh|cosh|tanh|arctg|arcctg|tg|ctg|cosec|gcd|lcm)\s*\}|(max|min)\s*\}(?=\s*[({\\]))"
)
_MEASURED_TEXT = re.compile(r"\\text\{\s*([-+]?[0-9][0-9.,/]*)\s*((?!to\s)[A-Za-z%][^{}]*)\}")
_WORDLESS_TEXT = re.compile(r"\\text\{([^{}A-Za-z]*)\}")
_MOD = r"(?:\\p?mod(?![a-z])|\\bmod(?![a-z])|\\text\{\s*mod\s*\}|mod(?![a-z]))"
_MODULUS = r"(\{[^{}]*\}|[0-9]+|[A-Za-z]\^?[0-9]?|\([^()]*\))"
_PARENTHESISED_MOD = re.compile(rf"\(\s*{_MOD}\s*{_MODULUS}\s*\)")
_BARE_MOD = re.compile(
    rf"(?:\\pmod(?![a-z])|\\mod(?![a-z])|\\text\{{\s*mod\s*\}}|(?<=[0-9 ])mod(?![a-z]))\s*{_MODULUS}"
)


def function_names(text: str) -> str:
    r"""`\text{sin}` and `\operatorname{sin}` are `\sin`."""
    return _NAMED.sub(lambda found: "\\" + ALIASES.get(found[1] or "", found[1] or found[2]) + " ", text)


def one_text(text: str) -> str:
    r"""`\mathrm{...}`, `\textbf{...}`, `\mbox{...}` are `\text{...}`; around a single letter they are nothing.

    What is no word leaves it: `\text{12 cm}` is `12\text{ cm}`, `\text{4:30}` is `4:30`.
    """
    if "\\" not in text:
        return text

    def plain(found: re.Match[str]) -> str:
        inside = found[1]
        if "^" in inside and not found.start():
            return inside
        if "^" in inside:  # `\text{m}^2`: a power of a unit stands outside of its text
            return re.sub(r"\^(\{[^{}]*\}|.)", r"}^\1\\text{", r"\text{" + inside + "}").replace(r"\text{}", "")
        before = found.string[: found.start()]
        measured = before[-1:].isspace() or inside[:1].isspace()
        unit = measured and before.rstrip()[-1:].isdigit() and inside.strip() not in ("e", "i")
        single = len(inside.strip()) == 1 and not unit and not found[0].startswith((r"\text", r"\mbox"))
        return inside.strip() if single else r"\text{" + inside + "}"

    text = _TEXT.sub(plain, _TEXT.sub(plain, text))
    if r"\text{" not in text:
        return text
    return _WORDLESS_TEXT.sub(r" \1 ", _MEASURED_TEXT.sub(r"\1\\text{ \2}", text)).strip()


def moduli(text: str) -> str:
    r"""`(\text{mod }7)`, `\pmod 7` and `\mod 7` are `\pmod{7}`; `\bmod` alone is an operation and stays."""
    if "mod" not in text:
        return text

    def braced(found: re.Match[str]) -> str:
        return rf"\pmod{{{found[1].strip('{}()')}}}"

    text = _PARENTHESISED_MOD.sub(braced, text)
    text = _BARE_MOD.sub(braced, text)
    return re.sub(rf"\\bmod\s*{_MODULUS}", braced, text) if r"\equiv" in text else text
