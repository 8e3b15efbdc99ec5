r"""Rules for answers with an equals sign: definitions, functions, equations that have the same solutions."""

from __future__ import annotations

import re
from fractions import Fraction

from ngrpo.grading.strict.brackets import label_of, renamed, sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.expression import Tree, parse, symbols_of
from ngrpo.grading.strict.zero_test import trees_equal, value_of


def tuple_equations(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """`(x,y)=(1,2)` beside a list of equations is the list `x=1,y=2`."""
    ours, theirs = _spread(answer), _spread(reference)
    listed = sequence(answer), sequence(reference)
    if theirs and not ours and listed[0] and not listed[0].opening:
        return comparer.compare(answer, theirs)
    if ours and not theirs and listed[1] and not listed[1].opening:
        return comparer.compare(ours, reference)
    return None


def _spread(text: str) -> str | None:
    sides = split_at(text, "=")
    names, values = (sequence(sides[0]), sequence(sides[1])) if len(sides) == 2 else (None, None)
    if not names or not values or not names.opening or len(names.parts) != len(values.parts):
        return None
    return ",".join(f"{name}={value}" for name, value in zip(names.parts, values.parts, strict=True))


def equations(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """`x=5` is 5; `f(x)=2x` is `2x` and `f(t)=2t`; equations are equal when one is a multiple of the other."""
    ours, theirs = split_at(answer, "="), split_at(reference, "=")
    if len(ours) == len(theirs) == 1:
        return None
    if not (all(ours) and all(theirs)):
        return Finding(False, "equation")
    ours, theirs = _component_wise(ours), _component_wise(theirs)
    if len(ours) == 1 or len(theirs) == 1:
        return _value_of_equation(comparer, ours, theirs)
    if ours[0] == theirs[0] and len(ours) == len(theirs) == 2:
        return Finding(comparer.equal(ours[1], theirs[1]), "equation")
    both = label_of(ours[0]), label_of(theirs[0])
    if both[0] and both[1] and len(ours) == len(theirs) == 2:
        (name, arguments), (other, others) = both[0], both[1]
        if arguments and name == other and len(arguments) == len(others):
            return _functions(comparer, ours[1], theirs[1], dict(zip(arguments, others, strict=True)))
    if len(ours) == len(theirs) == 2:
        return Finding(_proportional(ours, theirs), "equation")
    return Finding(False, "equation")


def _functions(comparer: Comparer, ours: str, theirs: str, names: dict[str, str]) -> Finding:
    # A letter that the body already uses for something else must not be captured.
    fresh = {letter: letter for letter in names if names[letter] == letter}
    clash = set(names.values()) - set(names) - set(fresh)
    if any(re.search(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", ours) for letter in clash):
        return Finding(False, "function")
    return Finding(comparer.equal(renamed(ours, names), theirs), "function")


def _component_wise(sides: list[str]) -> list[str]:
    """`(x,y)=(1,2)` has the value (1,2)."""
    if len(sides) == 2:
        names, values = sequence(sides[0]), sequence(sides[1])
        named = names is not None and all(label_of(part) for part in names.parts)
        if named and names is not None and values is not None and len(names.parts) == len(values.parts):
            return [sides[1]]
    return sides


def _value_of_equation(comparer: Comparer, ours: list[str], theirs: list[str]) -> Finding:
    """One side is an equation, the other a value."""
    sides, value = (ours, theirs[0]) if len(ours) > 1 else (theirs, ours[0])

    def compared(side: str) -> bool | None:
        return comparer.equal(side, value) if len(ours) > 1 else comparer.equal(value, side)

    if label_of(sides[0]) or _is_phrase(sides[0]) or _NAMED_RATIO.fullmatch(sides[0]):
        return Finding(compared(sides[-1]), "equation")
    if len(sides) == 2 and label_of(sides[1]):
        return Finding(compared(sides[0]), "equation")
    if len(sides) == 2 and _solved_by(sides, value):
        return Finding(True, "equation")
    results = [compared(side) for side in sides]
    # A calculation such as 2+4=6: every step of it must be right.
    return Finding(None if None in results and False not in results else all(results), "equation")


# Names of figures, bare or in a fraction, a ratio or bars: `\frac{AB}{CD}`, `S_{ABC}:S`, `|AB|`; no number among them.
_NAMED_RATIO = re.compile(
    r"(?:\\frac|\\angle|\\triangle|\\overline|\\text\{[^{}]*\}|[{}|:/()\s]|[A-Z](?:_(?:[0-9A-Za-z]|\{[^{}]*\}))?'*)+"
)


def _is_phrase(side: str) -> bool:
    return re.fullmatch(r"(?:[A-Za-z]{3,}|\\text\{[^{}]*\})(?:[ ][A-Za-z]+)*", side) is not None


def _proportional(ours: list[str], theirs: list[str]) -> bool | None:
    """Whether the difference of the sides of one equation is a constant multiple of the other's."""
    one, other = _difference(ours), _difference(theirs)
    if one is None or other is None:
        return None if " ".join(ours) != " ".join(theirs) else True
    names = symbols_of(one)
    if names != symbols_of(other) or not names:
        return trees_equal(one, other) if not names and not symbols_of(other) else False
    anchor = {name: value_of(name, 97) for name in names}
    ratio = ("divide", _at(one, anchor), _at(other, anchor))
    return trees_equal(one, ("multiply", ratio, other))


def _difference(sides: list[str]) -> Tree | None:
    left, right = parse(sides[0]), parse(sides[1])
    return None if left is None or right is None else ("add", left, ("negate", right))


def _at(tree: Tree, point: dict[str, Fraction] | dict[str, Tree]) -> Tree:
    """A tree with values or trees in the place of variables."""
    if tree[0] == "symbol":
        value = point.get(tree[1], tree)
        return ("number", value) if isinstance(value, Fraction) else value
    return (tree[0], *(_at(part, point) if isinstance(part, tuple) else part for part in tree[1:]))


def _solved_by(sides: list[str], value: str) -> bool:
    """Whether an equation that is linear in a variable which the value lacks has that value as its solution."""
    equation, solution = _difference(sides), parse(value)
    if equation is None or solution is None:
        return False
    unknown = symbols_of(equation) - symbols_of(solution)
    if len(unknown) != 1 or not symbols_of(solution) <= symbols_of(equation):
        return False
    (name,) = unknown
    zero: Tree = ("number", Fraction(0))
    values = [_at(equation, {name: ("number", Fraction(step))}) for step in (0, 1, 2)]
    second = ("add", ("add", values[0], values[2]), ("negate", ("multiply", ("number", Fraction(2)), values[1])))
    if not trees_equal(second, zero) or trees_equal(values[0], values[1]) is not False:
        return False
    return bool(trees_equal(_at(equation, {name: solution}), zero))
