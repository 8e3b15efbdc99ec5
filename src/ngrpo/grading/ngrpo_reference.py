r"""The rules of the NGRPO reference grader, for comparing with published numbers; its faults are kept on purpose.

Rebuilt from its behaviour: extraction, normalisation and the order of comparisons are the reference's, but no text
is evaluated. Where it hands text to sympy, this module uses the project's own parser, so that answers which only
Python's syntax explains (`2^3` as an exclusive or) are read as mathematics.

References:
    https://github.com/nangongrui-ngr/NGRPO (eval.py, verl/utils/reward_score).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ngrpo.grading.strict.equivalence import MAX_ANSWER_CHARACTERS, grade_of
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.groups import braced_arguments
from ngrpo.grading.strict.identity import trees_equal
from ngrpo.grading.strict.values import real_value
from ngrpo.types import Grade

RELATIVE_TOLERANCE = 1e-4
"""Of numbers, as in the reference: 72.005 is 72."""
WINDOW = 20_000
"""Characters at the end of a completion that are searched; the reference searches all."""
MAX_DEPTH = 20

_LAST_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+")
_MATRIX = re.compile(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", re.S)
_DELETED = (
    r"\!",
    r"\ ",
    r"\left",
    r"\right",
    r"^{\circ}",
    r"^\circ",
    r"\$",
    "$",
    r"\text",
    r"x\in",
    r"\%",
    "%",
    r"\cdot",
    r"\mathbf",
    "and",
)


def reference_answer(completion: str) -> str | None:
    r"""Returns what the reference grader extracts: after the last `boxed`, else after "he answer is", else a number.

    >>> reference_answer(r"\boxed{\dfrac12}"), reference_answer("I count 3 or 4."), reference_answer("none")
    ('\\frac{1}{2}', '4', None)
    """
    text = completion[-WINDOW:]
    if "boxed" in text:
        answer = _content(text.rpartition("boxed")[2])
    elif "he answer is" in text:
        answer = text.rpartition("he answer is")[2].strip()
    else:
        answer = (_LAST_NUMBER.findall(text.replace(",", "")) or [""])[-1]
    line = answer.split("\n")[0].removeprefix(":").removesuffix(".").removesuffix("/")
    # Longer answers are compared as they are: stripping them takes time that grows with the square of their length.
    return (stripped(line) if len(line) <= MAX_ANSWER_CHARACTERS else line) or None


def stripped(text: str) -> str:
    r"""Returns an answer in the reference's spelling: without units at the end, degrees, percent, dollars, spaces.

    >>> stripped("x = 5"), stripped(r"336^\circ"), stripped(r"5\text{ cm}"), stripped("7.00")
    ('5', '336', '5', '7')
    """
    text = (
        text.strip()
        .replace("\n", "")
        .rstrip(".")
        .replace("\\\\", "\\")
        .replace("tfrac", "frac")
        .replace("dfrac", "frac")
    )
    text = re.sub(r"\\text\{[^}]*\}$", "", text).strip() or text
    for piece in _DELETED:
        text = text.replace(piece, "")
    text = text.replace("infinity", r"\infty")
    if "j" in text and "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"([0-9]+)\.0+(?=[^0-9]|$)", r"\1", text)
    text = "0" + text if text.startswith(".") else text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0].strip()) <= 2:
        text = sides[1]
    text = braced_arguments(re.sub(r"\\sqrt([A-Za-z0-9]+)", r"\\sqrt{\1}", text).replace(" ", ""))
    return re.sub(r"^(-?[0-9]+)/(-?[0-9]+)$", r"\\frac{\1}{\2}", text)


def reference_grade(answer: str, reference: str) -> Grade:
    """Returns the reference grader's verdict on an extracted answer.

    >>> [reference_grade(*pair).status for pair in [("1", "100"), ("72.005", "72"), ("3", "4")]]
    ['correct', 'correct', 'wrong']
    """
    if not reference.strip():
        return Grade("ungraded", 0.0, reason="the reference is empty")
    expected = stripped(reference)
    if max(len(answer), len(expected)) > MAX_ANSWER_CHARACTERS:
        return grade_of(answer == expected, "reference")
    try:
        equal = _equal(answer, expected, 0)
    except (ArithmeticError, ValueError, TypeError, RecursionError):
        # As in the reference, an error means "not equal".
        equal = False
    return grade_of(equal, "reference")


def _content(text: str) -> str:
    if not text.startswith("{"):
        return text.partition("$")[0].strip()
    depth = 0
    for found in re.finditer("[{}]", text):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return text[1 : found.start()]
    return text[1:]


def _equal(answer: str, reference: str, depth: int) -> bool:
    if answer == reference:
        return True
    if depth > MAX_DEPTH:
        return False
    ours, theirs = _digits(answer), _digits(reference)
    if ours is not None and theirs is not None:
        return any(_close(ours, target) for target in (theirs / 100, theirs, theirs * 100))
    if not answer:
        return False
    return _same_bare(answer, reference) or _by_parts(answer, reference, depth) or _by_algebra(answer, reference, depth)


def _digits(text: str) -> float | None:
    """A number as the reference reads it: all commas dropped, a percentage divided by a hundred."""
    text = text.replace(",", "").strip()
    percent = text.endswith("%")
    text = text.removesuffix("%").removesuffix("\\")
    if not re.fullmatch(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", text) or len(text) > 300:
        return None
    return float(text) / (100 if percent else 1)


def _close(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= RELATIVE_TOLERANCE * max(abs(one), abs(other))


def _same_bare(answer: str, reference: str) -> bool:
    """Equal once braces and parentheses are gone, and brackets too where only one side has them."""
    ours, theirs = answer, reference
    square = answer.startswith("[") and answer.endswith("]") and not reference.startswith("(")
    round_ = answer.startswith("(") and answer.endswith(")") and not reference.startswith("[")
    if square or round_:
        ours, theirs = ours.strip("[]()"), theirs.strip("[]()")
    return _bare(ours).lower() == _bare(theirs).lower()


def _bare(text: str) -> str:
    return re.sub("[{}()]", "", text)


def _by_parts(answer: str, reference: str, depth: int) -> bool:
    bracketed = re.compile(r"[(\[].+[)\]]", re.S)
    if bracketed.match(answer) and bracketed.match(reference):
        return _pairwise(answer[1:-1].split(","), reference[1:-1].split(","), depth)
    ours, theirs = _MATRIX.fullmatch(answer), _MATRIX.fullmatch(reference)
    if ours and theirs:
        # Its normalisation has made a single backslash of each line break.
        return _pairwise(_cells(ours[1]), _cells(theirs[1]), depth)
    return False


def _cells(rows: str) -> list[str]:
    return [cell for row in re.split(r"\\{1,2}(?![A-Za-z])", rows) if row for cell in row.split("&")]


def _pairwise(ours: list[str], theirs: list[str], depth: int) -> bool:
    pairs: Iterable[tuple[str, str]] = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(_equal(*pair, depth + 1) for pair in pairs)


def _by_algebra(answer: str, reference: str, depth: int) -> bool:
    ours, theirs = answer.split("="), reference.split("=")
    if len(ours) == len(theirs) == 2:
        one, other = f"({ours[0]})-({ours[1]})", f"({theirs[0]})-({theirs[1]})"
        return _same_expression(one, other) or _same_expression(f"-({one})", other)
    if len(ours) == 2 and len(theirs) == 1 and len(ours[0].strip()) <= 2:
        return _equal(ours[1], reference, depth + 1)
    if len(theirs) == 2 and len(ours) == 1 and len(theirs[0].strip()) <= 2:
        return _equal(answer, theirs[1], depth + 1)
    return _same_expression(answer, reference)


def _same_expression(answer: str, reference: str) -> bool:
    ours, theirs = parse(answer), parse(reference)
    if ours is None or theirs is None:
        return False
    if trees_equal(ours, theirs):
        return True
    values = real_value(ours), real_value(theirs)
    return None not in values and _close(float(values[0]), float(values[1]))
