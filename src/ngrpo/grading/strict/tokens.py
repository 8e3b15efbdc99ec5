r"""Tokens of LaTeX expressions: numbers, commands, letters, marks."""

from __future__ import annotations

import re

MAX_TOKENS = 1_200
"""Longer expressions are refused: the longest of MATH's references has about a hundred tokens."""
GREEK = frozenset(
    """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell""".split()  # noqa: SIM905
)
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh ln log lg exp cis".split()  # noqa: SIM905
)
DECORATIONS = frozenset(("vec", "hat", "bar", "overline", "tilde", "widehat", "widetilde", "dot"))
PLAIN_WORDS = FUNCTIONS | {"sqrt", "pi", "asin", "acos", "atan", "abs"}

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|\\(?P<command>[A-Za-z]+|[{}|%$])|(?P<word>[A-Za-z]+)"
    r"|(?P<mark>\*\*|.))",
    re.DOTALL,
)


class NotAnExpressionError(ValueError):
    """The text has a form that this parser does not know."""


def tokens_of(text: str) -> list[str]:
    tokens: list[str] = []
    for found in _TOKEN.finditer(text.strip()):
        if found["number"]:
            tokens.append(found["number"])
        elif found["command"]:
            tokens.append("\\" + found["command"])
        elif found["word"]:
            word = found["word"]
            tokens += ["\\" + word] if word in PLAIN_WORDS else list(word)
        elif found["mark"]:
            tokens.append("^" if found["mark"] == "**" else found["mark"])
        if len(tokens) > MAX_TOKENS:
            raise NotAnExpressionError("too long")
    return tokens


def is_number(token: str | None) -> bool:
    return token is not None and (token[0].isdigit() or (token[0] == "." and len(token) > 1)) and token.isascii()
