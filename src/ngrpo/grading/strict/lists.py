r"""Rules for lists, tuples, sets, intervals and matrices."""

from __future__ import annotations

import re

from ngrpo.grading.strict.brackets import Sequence, matrix, sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.real_sets import is_marked, real_set, same_set
from ngrpo.grading.strict.rules import all_equal
from ngrpo.grading.strict.words import without_labels, without_ordinal


def real_sets(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    if not (is_marked(answer) or is_marked(reference)):
        return None
    ours, theirs = real_set(answer), real_set(reference)
    if ours is None or theirs is None:
        return None
    return Finding(same_set(ours, theirs, comparer.equal), "interval")


def orders(_: Comparer, answer: str, reference: str) -> Finding | None:
    """`b<a<d<c` as the answer to "order them" is the list b, a, d, c."""
    ours, theirs = _ordered(answer), _ordered(reference)
    if ours is None and theirs is None:
        return None
    other = sequence(reference if ours else answer)
    if (ours and theirs) or other is None:
        return None
    return Finding((ours or theirs) == list(other.parts), "order")


def _ordered(text: str) -> list[str] | None:
    parts = split_at(text, "<")
    return parts if len(parts) > 2 and all(re.fullmatch("[A-Za-z]", part) for part in parts) else None


def plus_minus(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    r"""`a\pm b` is the list of its two values."""
    if r"\pm" not in answer + reference or answer.count(r"\pm") > 1 or reference.count(r"\pm") > 1:
        return None
    return comparer.compare(_both_signs(answer), _both_signs(reference))._replace(rule="list")


def _both_signs(text: str) -> str:
    if r"\pm" not in text:
        return text
    parts = split_at(text, ",", ";")
    both = [
        re.sub(r"\\pm\s?", sign, re.sub(r"\\mp\s?", opposite, part))
        for part in parts
        for sign, opposite in (("+", "-"), ("-", "+"))[: 2 if r"\pm" in part else 1]
    ]
    return ",".join(both)


def labelled_lists(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Names before a colon and words between the elements of a list mean nothing: "Paolo: 18 and Qing: 14"."""
    ours, theirs = _unlabelled(answer), _unlabelled(reference)
    return None if (ours, theirs) == (answer, reference) else comparer.compare(ours, theirs)


_AND = re.compile(r",?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z])(?:and|or)(?![A-Za-z]))\s*")


def _unlabelled(text: str) -> str:
    return without_labels(without_ordinal(_AND.sub(",", text))).strip(",")


def matrices(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = matrix(answer), matrix(reference)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        if [len(row) for row in ours] != [len(row) for row in theirs]:
            return Finding(False, "matrix")
        cells = [pair for rows in zip(ours, theirs, strict=True) for pair in zip(*rows, strict=True)]
        return Finding(all_equal([comparer.equal(*pair) for pair in cells]), "matrix")
    rows, other = (ours, reference) if ours is not None else (theirs, answer)
    listed = sequence(other)
    assert rows is not None  # noqa: S101  (told to mypy: one of the two is a matrix)
    cells_of_vector = [cell for row in rows for cell in row]
    if listed is None or listed.opening not in ("(", r"\langle", "[") or not _is_vector(rows):
        return None
    pairs = zip(cells_of_vector, listed.parts, strict=False)
    same = [comparer.equal(*(pair if ours is not None else pair[::-1])) for pair in pairs]
    return Finding(all_equal(same) if len(cells_of_vector) == len(listed.parts) else False, "vector")


def _is_vector(rows: tuple[tuple[str, ...], ...]) -> bool:
    return len(rows) == 1 or all(len(row) == 1 for row in rows)


def sequences(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    ours, theirs = sequence(answer), sequence(reference)
    if ours is None or theirs is None:
        return _single(comparer, answer, reference, ours, theirs)
    if len(ours.parts) != len(theirs.parts):
        return Finding(False, "list")
    if not _same_kind(ours, theirs):
        return Finding(False, "brackets")
    ordered = "(" in (ours.opening + theirs.opening) or "[" in (ours.opening + theirs.opening)
    if ordered or r"\langle" in (ours.opening, theirs.opening):
        results = [comparer.equal(*pair) for pair in zip(ours.parts, theirs.parts, strict=True)]
        return Finding(all_equal(results), "tuple")
    return Finding(_same_elements(comparer, ours.parts, theirs.parts), "list")


def _single(
    comparer: Comparer, answer: str, reference: str, ours: Sequence | None, theirs: Sequence | None
) -> Finding | None:
    """A set of one element is that element."""
    listed = ours or theirs
    if listed is None:
        return None
    if listed.opening == r"\{" and len(listed.parts) == 1:
        pair = (listed.parts[0], reference) if ours else (answer, listed.parts[0])
        return comparer.compare(*pair)
    if len(split_at(reference if ours else answer, "=")) > 1:
        return None
    return Finding(False, "list")


def _same_kind(ours: Sequence, theirs: Sequence) -> bool:
    """A bare list may stand for a set, or for a tuple in its order; other brackets must be the same."""
    if not ours.opening or not theirs.opening:
        return True
    angles = {r"\langle", "("}
    if {ours.opening, theirs.opening} == angles or (
        len(ours.parts) > 2 and {ours.opening, theirs.opening} <= {"(", "["}
    ):
        return True
    return (ours.opening, ours.closing) == (theirs.opening, theirs.closing)


def _same_elements(comparer: Comparer, ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool | None:
    left = list(theirs)
    unsure = False
    for part in ours:
        results: list[bool | None] = []
        for other in left:
            results.append(comparer.equal(part, other))
            if results[-1]:
                break
        if True in results:
            del left[results.index(True)]
        elif None in results:
            unsure = True
        else:
            return False
    return None if unsure else True
