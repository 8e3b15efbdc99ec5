r"""LaTeX expressions as trees: a small parser that knows arithmetic and refuses everything else.

A tree is a tuple whose first item names an operation: `("number", Fraction)`, `("symbol", "x")`, `("constant",
"pi")`, or an operation with trees as arguments, such as `("add", a, b)`. Nothing is evaluated while parsing,
and only names from the tables of this file are understood: the text of a model cannot name anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ngrpo.grading.strict.tokens import DECORATIONS, FUNCTIONS, GREEK, NotAnExpressionError, is_number, tokens_of

Tree = tuple[Any, ...]

MAX_DEPTH = 60
"""Deeper nesting is refused; each level costs a few Python frames."""

INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
CONSTANTS = {"pi": "pi", "infty": "infinity"}
_CHOSEN = re.compile(r"\( ([0-9]+) , ([0-9]+) \)")
_COMBINATIONS = re.compile("C_[0-9]+")
_OPENING = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", "|": "|"}
_TIMES = frozenset(("*", r"\cdot", r"\times", r"\ast"))
_OVER = frozenset(("/", r"\div", ":"))
_ENDS = frozenset((")", "]", "}", r"\}", r"\rfloor", r"\rceil", ",", ";", "+", "-", "=", "<", ">", "&", "|")) | _OVER


@lru_cache(maxsize=4096)
def parse(text: str) -> Tree | None:
    r"""Returns the tree of a normalised LaTeX expression, or None where it is not one that is understood.

    Juxtaposition multiplies, except that an integer before a proper fraction makes a mixed number; `2^10` is
    two to the tenth; a function without parentheses takes the product that follows it (`\sin 2x`).

    >>> parse("2x")
    ('multiply', ('number', Fraction(2, 1)), ('symbol', 'x'))
    >>> parse(r"3\frac{1}{2}")
    ('add', ('number', Fraction(3, 1)), ('number', Fraction(1, 2)))
    >>> parse(r"\int x") is None
    True
    """
    try:
        parser = _Parser(tokens_of(text))
        tree = parser.sum()
        if parser.next() is not None:
            return None
    except (NotAnExpressionError, RecursionError):
        return None
    return tree


def symbols_of(tree: Tree) -> frozenset[str]:
    """Returns the names of the variables in a tree.

    >>> sorted(symbols_of(parse("x + 2y_1")))
    ['x', 'y_1']
    """
    if tree[0] == "symbol":
        return frozenset((tree[1],))
    return frozenset().union(*(symbols_of(part) for part in tree[1:] if isinstance(part, tuple)))


def substituted(tree: Tree, values: Mapping[str, Tree]) -> Tree:
    """Returns a tree with trees in the place of variables.

    >>> substituted(parse("2x"), {"x": ("number", Fraction(5))})
    ('multiply', ('number', Fraction(2, 1)), ('number', Fraction(5, 1)))
    """
    if tree[0] == "symbol":
        return values.get(tree[1], tree)
    return (tree[0], *(substituted(part, values) if isinstance(part, tuple) else part for part in tree[1:]))


class _Parser:
    """Recursive descent; each method reads one level of precedence."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0
        self._factor: Tree = ()

    def next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def sum(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotAnExpressionError("nested too deep")
        total = self._product()
        while (token := self.next()) in ("+", "-"):
            self._at += 1
            term = self._product()
            total = ("add", total, term if token == "+" else ("negate", term))
        self._depth -= 1
        return total

    def _product(self) -> Tree:
        sign = self._signs()
        product = self._factor = self._power()
        while (token := self.next()) is not None:
            if token in _TIMES or token in _OVER:
                self._at += 1
                negative = self._signs()
                factor = self._factor = self._power()
                factor = ("negate", factor) if negative else factor
                product = ("divide" if token in _OVER else "multiply", product, factor)
            elif self._begins_factor(token):
                product = self._beside(product)
            else:
                break
        return ("negate", product) if sign else product

    def _beside(self, left: Tree) -> Tree:
        # Two numbers side by side are no product: "3 4" or "1.2.3" mean something else; "3!2!" and "2^a3^b" do.
        if is_number(self.next()) and self._tokens[self._at - 1] != "!" and self._factor[0] != "power":
            raise NotAnExpressionError("a number after a factor")
        before = self._tokens[self._at - 1]
        begins = self.next() == r"\frac"
        right = self._factor = self._power()
        if begins and is_number(before) and "." not in before and left == ("number", Fraction(before)):
            top_bottom = _proper_fraction(right)
            if top_bottom is not None:
                return ("add", left, ("number", top_bottom))
        return ("multiply", left, right)

    def _signs(self) -> bool:
        negative = False
        while (token := self.next()) in ("+", "-"):
            negative ^= token == "-"
            self._at += 1
        return negative

    def _begins_factor(self, token: str) -> bool:
        if token == "|":
            return self._bars == 0
        return token not in _ENDS and token not in ("!", "^", "_", "'")

    def _power(self) -> Tree:
        base = self._postfix(self._atom())
        if self.next() == "^":
            self._at += 1
            if self.next() == r"\circ":
                self._at += 1
                return self._postfix(("degrees", base))
            return self._postfix(("power", base, self._script()))
        return base

    def _postfix(self, tree: Tree) -> Tree:
        while (token := self.next()) in ("!", r"\%", "%", r"\degree"):
            self._at += 1
            if token == "!" and self.next() == "!":
                self._at += 1
                tree = ("double_factorial", tree)
                if self.next() == "!":
                    raise NotAnExpressionError("a factorial of a higher step")
                continue
            name = {"!": "factorial", r"\degree": "degrees"}.get(token or "", "percent")
            tree = (name, tree)
        return tree

    def _script(self) -> Tree:
        """What stands above: a group, or a signed number or symbol."""
        if self.next() in ("+", "-"):
            negative = self._signs()
            tree = self._script()
            return ("negate", tree) if negative else tree
        if self.next() == r"\frac":
            return self._power()
        return self._atom()

    def _atom(self) -> Tree:
        token = self.next()
        if token is None:
            raise NotAnExpressionError("ends too early")
        self._at += 1
        if is_number(token):
            if self.next() == "_":
                raise NotAnExpressionError("a numeral with a base")
            return ("number", Fraction(token))
        if token in _OPENING:
            return self._group(token)
        if token.isalpha() and token.isascii():
            return self._letter(token)
        if token.startswith("\\"):
            return self._command(token[1:])
        raise NotAnExpressionError(f"unknown: {token}")

    def _group(self, opening: str) -> Tree:
        self._bars += opening == "|"
        inside = self._bars
        if opening != "|":
            self._bars = 0
        tree = self.sum()
        self._bars = inside
        self._expect(_OPENING[opening])
        self._bars -= opening == "|"
        names = {r"\lfloor": "floor", r"\lceil": "ceiling", "|": "absolute"}
        if opening == r"\{":
            raise NotAnExpressionError("a set")
        return (names[opening], tree) if opening in names else tree

    def _expect(self, token: str) -> None:
        if self.next() != token:
            raise NotAnExpressionError(f"expected {token}")
        self._at += 1

    def _letter(self, token: str) -> Tree:
        if token == "C" and (found := _CHOSEN.match(" ".join(self._tokens[self._at : self._at + 5]))):
            self._at += 5
            return ("binomial", ("number", Fraction(found[1])), ("number", Fraction(found[2])))
        if token in "fgh" and self.next() == "(":
            raise NotAnExpressionError("an unknown function")
        name = self._subscripted(token)
        if _COMBINATIONS.fullmatch(name) and self.next() == "^":
            return self._combinations(name)
        if self.next() == "'":
            raise NotAnExpressionError("a derivative")
        if name == "e":
            return ("constant", "e")
        return ("constant", "i") if name == "i" else ("symbol", name)

    def _combinations(self, name: str) -> Tree:
        """`C_{10}^{3}`: a binomial where both are numbers."""
        self._at += 1
        below = self._script()
        if below[0] != "number":
            raise NotAnExpressionError("a power of a name")
        return ("binomial", ("number", Fraction(name[2:])), below)

    def _subscripted(self, name: str) -> str:
        if self.next() != "_":
            return name
        self._at += 1
        token = self.next()
        if token == "{":
            end = self._tokens.index("}", self._at) if "}" in self._tokens[self._at :] else -1
            inside = self._tokens[self._at + 1 : end] if end > 0 else ["{"]
            if "{" in inside:
                raise NotAnExpressionError("a group in a subscript")
            self._at = end + 1
            return f"{name}_{''.join(inside)}"
        if token is None or not (token.isalnum() or token.startswith("\\")):
            raise NotAnExpressionError("an empty subscript")
        self._at += 1
        return f"{name}_{token}"

    def _command(self, name: str) -> Tree:
        if name in CONSTANTS:
            return ("constant", CONSTANTS[name])
        if name in GREEK:
            return ("symbol", self._subscripted("\\" + name))
        if name in DECORATIONS:
            return ("symbol", self._decorated(name))
        if name == "frac":
            return ("divide", self._braced(), self._braced())
        if name == "binom":
            return ("binomial", self._braced(), self._braced())
        if name == "sqrt":
            return self._root()
        if name in ("gcd", "lcm", "max", "min"):
            return (name, *self._arguments())
        if name == "abs":
            return ("absolute", self._braced() if self.next() == "{" else self._atom())
        name = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(name, name)
        if name in FUNCTIONS:
            return self._function(name)
        raise NotAnExpressionError(f"unknown: {name}")

    def _decorated(self, name: str) -> str:
        r"""The name of `\vec{a}`, `\vec{AB}`: letters under a mark are one symbol."""
        end = self._at + 1
        if self.next() == "{":
            end = self._tokens.index("}", self._at) + 1 if "}" in self._tokens[self._at :] else end
        letters = [token for token in self._tokens[self._at : end] if token not in "{}"]
        if not letters or not all(letter.isalpha() or letter[1:] in GREEK for letter in letters):
            raise NotAnExpressionError("no name under a mark")
        self._at = end
        return f"\\{name} {''.join(letters)}"

    def _arguments(self) -> list[Tree]:
        opening = self.next()
        if opening not in ("(", r"\{"):
            raise NotAnExpressionError("no arguments")
        self._at += 1
        arguments = [self.sum()]
        while self.next() == ",":
            self._at += 1
            arguments.append(self.sum())
        self._expect(_OPENING[opening])
        return arguments

    def _braced(self) -> Tree:
        self._expect("{")
        return self._group("{")

    def _root(self) -> Tree:
        degree: Tree = ("number", Fraction(2))
        if self.next() == "[":
            self._at += 1
            degree = self._group("[")
        return ("root", self._atom(), degree)

    def _function(self, name: str) -> Tree:
        base: Tree | None = None
        exponent: Tree | None = None
        while (token := self.next()) in ("_", "^"):
            self._at += 1
            if token == "_":
                base = self._script()
            else:
                exponent = self._script()
        if exponent == ("negate", ("number", Fraction(1))):
            if name not in INVERSE:
                raise NotAnExpressionError(f"{name} to the power -1")
            name, exponent = INVERSE[name], None
        argument = self._argument()
        if base is not None and name != "log":
            raise NotAnExpressionError(f"a subscript under {name}")
        value: Tree = ("log", argument, base) if base is not None else ("function", name, argument)
        return value if exponent is None else ("power", value, exponent)

    def _argument(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotAnExpressionError("nested too deep")
        if self.next() in _OPENING and self.next() != "|":
            tree = self._power()
        else:
            negative = self._signs()
            tree = self._power()
            while (token := self.next()) is not None and self._continues_argument(token):
                tree = self._beside(tree)
            # "\sin\frac{x}{2}" and "\ln x/2": only juxtaposition goes on.
            tree = ("negate", tree) if negative else tree
        self._depth -= 1
        return tree

    def _continues_argument(self, token: str) -> bool:
        if token in _OPENING or token in _TIMES or token[1:] in FUNCTIONS:
            return False
        return self._begins_factor(token)


def _proper_fraction(tree: Tree) -> Fraction | None:
    if tree[0] != "divide" or tree[1][0] != "number" or tree[2][0] != "number":
        return None
    top, bottom = tree[1][1], tree[2][1]
    return Fraction(top, bottom) if 0 < top < bottom and top.denominator == bottom.denominator == 1 else None
