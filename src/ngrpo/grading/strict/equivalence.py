r"""Whether an answer equals a reference: by spelling, exact numbers, structure, and the values of expressions.

`settled` decides nearly all pairs, in microseconds to milliseconds and with bounded effort. What it cannot read is
left to sympy, which `ngrpo.grading.sympy_grader` calls inside the process of `ngrpo.grading.server`.
"""

from __future__ import annotations

import re

from ngrpo.grading.strict import rules
from ngrpo.grading.strict.angles import angles
from ngrpo.grading.strict.choice_letters import choices
from ngrpo.grading.strict.clocks import clocks
from ngrpo.grading.strict.comparer import Comparer, Leaf, Rule
from ngrpo.grading.strict.congruences import congruences, progressions
from ngrpo.grading.strict.equations import equations, memberships, tuple_equations
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.identity import is_too_large, trees_equal
from ngrpo.grading.strict.lists import plus_minus, sequences
from ngrpo.grading.strict.matrices import matrices
from ngrpo.grading.strict.normalize import normalize_answer
from ngrpo.grading.strict.quantities import quantities
from ngrpo.grading.strict.real_sets import real_sets
from ngrpo.grading.strict.relations import inequalities, joined_statements, labelled_lists, orders
from ngrpo.grading.strict.systems import systems
from ngrpo.grading.strict.values import TooLargeError
from ngrpo.types import Grade

MAX_ANSWER_CHARACTERS = 2_000
"""Longer answers are not parsed: no reference of a benchmark has a tenth of it, and parsing is not linear."""
MAX_NESTING = 50
"""Most brackets inside each other."""

RULES: tuple[Rule, ...] = (
    rules.same_text,
    choices,
    rules.meanings,
    rules.booleans,
    rules.infinities,
    clocks,
    rules.lists_in_text,
    rules.words,
    rules.numerals,
    rules.numbers,
    rules.approximations,
    rules.sentences,
    plus_minus,
    congruences,
    progressions,
    rules.conditions,
    rules.parameters,
    systems,
    memberships,
    tuple_equations,
    joined_statements,
    inequalities,
    real_sets,
    orders,
    labelled_lists,
    matrices,
    quantities,
    sequences,
    equations,
    rules.ratios,
    angles,
)
"""The rules of `strict`, one or a few for each type of answer, in the order in which they are asked."""

# What no algebra decides: words, derivatives, congruences, "and so on", equations inside an expression, sets, numerals
# with a base, times of day.
_NO_ALGEBRA = re.compile(
    r"\\text|\\ldots|'|\\equiv|\\pmod|\\begin|\\forall|\\exists|\\mathbb|\\in(?![a-z])|[<>?]|\\[lg]e(?![a-z])"
    r"|\\cup|\\cap|[0-9]_\{?[0-9]|\.\.|:|!!"
)
_INTEGER = re.compile("-?[0-9]{1,40}")
SYMPY_COMMANDS = r"\\(?:int|iint|oint|sum|prod|lim|gcd|lcm|max|min|bmod|mod|operatorname|det|partial)(?![A-Za-z])"
"""A pattern of what sympy knows beside arithmetic."""
_FOR_SYMPY = re.compile(SYMPY_COMMANDS + r"|(?<![A-Za-z\\])[a-zA-Z]\(")
_UNKNOWN_FUNCTION = re.compile(r"(?<![A-Za-z\\])([fgh])\(")
_TO_DO = re.compile(r"\\(?:int|iint|oint|sum|prod|lim)(?![A-Za-z])")


def grade_of(equal: bool, rule: str) -> Grade:
    """Returns the grade of a comparison, with reward 1 for an equal answer; the pool scales it to `max_reward`."""
    return Grade("correct", 1.0, reason=rule) if equal else Grade("wrong", 0.0, reason=rule)


def settled(answer: str, reference: str) -> Grade | None:
    r"""Returns the grade on an answer, or None where an expression needs sympy.

    An answer over a limit is wrong, for that is a fault of the answer; a reference over it is not the
    answer's fault, so that a pair which it keeps from being compared is ungraded.

    Args:
        answer: what was extracted from a completion.
        reference: the answer to reach, with or without math delimiters.

    >>> settled(r"\dfrac{1}{2}", "0.5"), settled("x+1", "1+x").reason
    (Grade(status='correct', reward=1.0, answer=None, reason='number'), 'expression')
    >>> settled(r"\int_0^1 x", r"\int_0^1 y") is None
    True
    """
    outside = over_limits(answer, reference)
    if outside is not None:
        return outside
    ours, theirs = normalize_answer(answer), normalize_answer(reference)
    if not ours:
        return Grade("wrong", 0.0, reason="the answer is empty")
    try:
        finding = Comparer(RULES, _by_values).compare(ours, theirs)
    except TooLargeError:
        if any(is_too_large(part) for part in re.split("[,=]", theirs)):
            return Grade("ungraded", 0.0, reason="limit: a number of the reference is too large")
        return Grade("wrong", 0.0, reason="limit: a number is too large")
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        # No answer may stop a training run, whatever mpmath makes of it.
        return Grade("ungraded", 0.0, reason=f"error: {type(error).__name__}")
    if finding.equal is None:
        return None
    return grade_of(finding.equal, finding.rule)


def quick_grade(answer: str, reference: str) -> Grade | None:
    r"""Returns the grade on a pair that is empty, beyond the limits, literally equal, or two integers.

    Takes a few microseconds whatever the text, so that it may be asked where nothing can be killed.

    >>> quick_grade("7", "07"), quick_grade("x+1", "1+x")
    (Grade(status='correct', reward=1.0, answer=None, reason='number'), None)
    """
    if _INTEGER.fullmatch(answer) and _INTEGER.fullmatch(reference):
        if answer == reference:
            return Grade("correct", 1.0, reason="text")
        return grade_of(int(answer) == int(reference), "number")
    return over_limits(answer, reference)


def over_limits(answer: str, reference: str) -> Grade | None:
    """Returns the grade on a pair that is empty, literally equal, or beyond the limits of size; else None."""
    if not reference.strip():
        return Grade("ungraded", 0.0, reason="the reference is empty")
    if answer.strip() == reference.strip():
        return Grade("correct", 1.0, reason="text")
    if len(reference) > MAX_ANSWER_CHARACTERS:
        return Grade("ungraded", 0.0, reason=f"limit: the reference has over {MAX_ANSWER_CHARACTERS} characters")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Grade("wrong", 0.0, reason=f"limit: over {MAX_ANSWER_CHARACTERS} characters")
    if _nesting(reference) > MAX_NESTING:
        return Grade("ungraded", 0.0, reason=f"limit: the reference nests over {MAX_NESTING} brackets")
    if _nesting(answer) > MAX_NESTING:
        return Grade("wrong", 0.0, reason=f"limit: over {MAX_NESTING} brackets inside each other")
    return None


def compared_with(leaf: Leaf, answer: str, reference: str) -> bool | None:
    """Returns whether two answers are equal by the rules of `strict`, with expressions compared by `leaf`."""

    def both(ours: str, theirs: str) -> bool | None:
        by_values = _by_values(ours, theirs)
        return leaf(ours, theirs) if by_values is None else by_values

    return Comparer(RULES, both).compare(normalize_answer(answer), normalize_answer(reference)).equal


def _by_values(answer: str, reference: str) -> bool | None:
    ours, theirs = parse(answer), parse(reference)
    if ours is not None and theirs is not None:
        return trees_equal(ours, theirs)
    if _NO_ALGEBRA.search(answer) or _NO_ALGEBRA.search(reference):
        return False
    if not (_FOR_SYMPY.search(answer) or _FOR_SYMPY.search(reference)):
        return False  # sympy reads no more of it: two spellings of what nobody understands are not the same
    functions = set(_UNKNOWN_FUNCTION.findall(answer)) ^ set(_UNKNOWN_FUNCTION.findall(reference))
    if any(answer.count(name) == 0 or reference.count(name) == 0 for name in functions):
        return False
    # A sum, integral or limit that is still to be worked out restates the problem.
    if _TO_DO.search(answer) and not _TO_DO.search(reference):
        return False
    return None


def _nesting(text: str) -> int:
    """Most brackets inside each other; where there are few at all, just their number."""
    opened = text.count("(") + text.count("[") + text.count("{")
    if opened <= MAX_NESTING:
        return opened
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
