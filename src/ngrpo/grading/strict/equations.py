r"""Rules for answers with an equals sign: named values, functions, equations that have the same solutions."""

from __future__ import annotations

import re
from fractions import Fraction

from ngrpo.grading.strict.brackets import renamed, sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.expression import Tree, parse, substituted, symbols_of
from ngrpo.grading.strict.identity import trees_equal, value_of
from ngrpo.grading.strict.labels import label_of, names_a_value

_MEMBER = re.compile(r"(?:[A-Za-z](?:_[A-Za-z0-9])?|\\[a-z]+|\([A-Za-z](?:,[A-Za-z])+\))\s*\\in\s*(.+)", re.S)
_OR = re.compile(r",?\s*(?:\\text\{\s*,?\s*or\s*\}|\\lor(?![a-z])|(?<![A-Za-z])or(?![A-Za-z]))\s*")
_AND = re.compile(r",?\s*(?:\\text\{\s*,?\s*and\s*\}|\\land(?![a-z])|(?<![A-Za-z])and(?![A-Za-z]))\s*")
_POINTS = re.compile(r"\A\\\{\s*\([a-z](?:,[a-z])+\)\s*[|:]\s*([^{}]*)\\\}\Z")
_VALUED = re.compile(r"(?<![A-Za-z\\])[A-Za-z]")


def memberships(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`x\in\{5\}` is the set, where the other side names no element of it."""
    pair = _POINTS.sub(r"\1", answer), _POINTS.sub(r"\1", reference)
    if pair != (answer, reference):
        return comparer.compare(*pair)
    ours, theirs = _MEMBER.fullmatch(answer), _MEMBER.fullmatch(reference)
    if bool(ours) == bool(theirs):
        return None
    pair = (ours[1].strip(), reference) if ours else (answer, theirs[1].strip() if theirs else "")
    return comparer.compare(*pair)


def tuple_equations(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """`(x,y)=(1,2)` beside a list of equations is the list `x=1,y=2`, and so is a pair without names."""
    if "=" not in answer + reference:
        return None
    ours, theirs = _spread(answer), _spread(reference)
    listed = sequence(answer), sequence(reference)
    if theirs and not ours and listed[0] and not listed[0].opening:
        return comparer.compare(answer, theirs)
    if ours and not theirs and listed[1] and not listed[1].opening:
        return comparer.compare(ours, reference)
    groups = _groups(answer), _groups(reference)
    if any(groups):
        return comparer.compare(groups[0] or answer, groups[1] or reference)
    named = _coordinates(answer), _coordinates(reference)
    if named[0] and not named[1] and listed[1] and listed[1].opening == "(":
        return comparer.compare(named[0], reference)
    if named[1] and not named[0] and listed[0] and listed[0].opening == "(":
        return comparer.compare(answer, named[1])
    return None


def _spread(text: str) -> str | None:
    sides = split_at(text, "=")
    names, values = (sequence(sides[0]), sequence(sides[1])) if len(sides) == 2 else (None, None)
    if not names or not values or not names.opening or len(names.parts) != len(values.parts):
        return None
    return ",".join(f"{name}={value}" for name, value in zip(names.parts, values.parts, strict=True))


def _groups(text: str) -> str | None:
    """`p=5,q=2;p=7,q=2` is `(5,2),(7,2)`."""
    for joint in (_OR, _AND):
        groups = [_coordinates(group) for group in split_at(joint.sub(";", text), ";")]
        if len(groups) > 1 and all(groups):
            return ",".join(map(str, groups))
    return None


def _coordinates(text: str) -> str | None:
    """The tuple of a list of equations for different single letters, in the order of the alphabet."""
    parts = split_at(text, ",", ";")
    sides = [split_at(part, "=") for part in parts]
    if len(parts) < 2 or not all(len(two) == 2 and re.fullmatch("[A-Za-z]", two[0]) and two[1] for two in sides):
        return None
    values = {two[0]: two[1] for two in sides}
    return f"({','.join(values[name] for name in sorted(values))})" if len(values) == len(parts) else None


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
    ours, theirs = _from_name(comparer, ours), _from_name(comparer, theirs)
    if len(ours) != 2 or len(theirs) != 2:
        return Finding(False, "equation")
    if ours[0] == theirs[0]:
        return Finding(comparer.equal(ours[1], theirs[1]), "equation")
    return _defined(comparer, ours, theirs) or Finding(_proportional(ours, theirs), "equation")


def _from_name(comparer: Comparer, sides: list[str]) -> list[str]:
    """A chain such as `x=2+4=6` is `x=6` where each of its steps is right."""
    if len(sides) > 2 and names_a_value(sides[0]) and all(comparer.equal(s, sides[-1]) for s in sides[1:-1]):
        return [sides[0], sides[-1]]
    return sides


def _defined(comparer: Comparer, ours: list[str], theirs: list[str]) -> Finding | None:
    """Definitions of functions: an argument may have any name, and `y` may stand for `f(x)`."""
    both = label_of(ours[0]), label_of(theirs[0])
    if not both[0] or not both[1]:
        return None
    (name, arguments), (other, others) = both[0], both[1]
    if arguments and others:
        if arguments != others and any(map(str.isupper, arguments)):
            return Finding(False, "function")  # `P(A)=0.3` is a value of something, no definition
        if name != other or len(arguments) != len(others):
            return Finding(False, "function") if name == other else None
        return _functions(comparer, ours[1], theirs[1], dict(zip(arguments, others, strict=True)))
    if arguments or others:
        letter, body = (other, theirs[1]) if arguments else (name, ours[1])
        known = arguments or others
        if len(letter) == 1 and letter not in known and set(known) & set(_VALUED.findall(body)):
            return Finding(comparer.equal(ours[1], theirs[1]), "function")
        return Finding(False, "function")
    return None


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

    if names_a_value(sides[0]) and not (len(sides) == 2 and _is_number(sides[0])):
        # Of `S=\frac12ab=6` the last counts; `x=42=43` contradicts itself.
        steps = [compared(side) for side in sides[1:-1] if _is_number(side)]
        return Finding(compared(sides[-1]) if False not in steps else False, "equation")
    if len(sides) == 2 and label_of(sides[1]):
        return Finding(compared(sides[0]), "equation")
    if len(sides) == 2 and _solved_by(sides, value):
        return Finding(True, "equation")
    results = [compared(side) for side in sides]
    # A calculation such as 2+4=6: every step of it must be right.
    return Finding(None if None in results and False not in results else all(results), "equation")


def _is_number(side: str) -> bool:
    tree = parse(side)
    return tree is not None and not symbols_of(tree)


def _proportional(ours: list[str], theirs: list[str]) -> bool | None:
    """Whether the difference of the sides of one equation is a constant multiple of the other's."""
    one, other = _difference(ours), _difference(theirs)
    if one is None or other is None:
        return False
    names = symbols_of(one)
    if names != symbols_of(other) or not names:
        return trees_equal(one, other) if not names and not symbols_of(other) else False
    anchor: dict[str, Tree] = {name: ("number", value_of(name, 97)) for name in names}
    ratio: Tree = ("divide", substituted(one, anchor), substituted(other, anchor))
    return trees_equal(one, ("multiply", ratio, other))


def _difference(sides: list[str]) -> Tree | None:
    left, right = parse(sides[0]), parse(sides[1])
    return None if left is None or right is None else ("add", left, ("negate", right))


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
    values = [substituted(equation, {name: ("number", Fraction(step))}) for step in (0, 1, 2)]
    second: Tree = ("add", ("add", values[0], values[2]), ("negate", ("multiply", ("number", Fraction(2)), values[1])))
    if not trees_equal(second, zero) or trees_equal(values[0], values[1]) is not False:
        return False
    return bool(trees_equal(substituted(equation, {name: solution}), zero))
