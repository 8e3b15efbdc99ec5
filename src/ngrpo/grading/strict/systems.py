r"""Systems and functions by cases: `\begin{cases}`, `\left\{\begin{array}{l}`, `\begin{aligned}`."""

from __future__ import annotations

import re

from ngrpo.grading.strict.comparer import Comparer, Finding, same_elements

_ENVIRONMENT = re.compile(
    r"(?P<brace>\\\{)?\s*\\begin\{(?P<name>cases|dcases|rcases|aligned|align|gathered|split|array)\*?\}"
    r"(?:\{[lcr|@. ]*\})?"
    r"(?P<rows>.*)\\end\{(?P=name)\*?\}\.?",
    re.S,
)
_CONDITION_WORDS = re.compile(r"\\text\{\s*,?\s*(?:if|for|when|where)?\s*\}|(?<![A-Za-z])(?:if|for|when)(?![A-Za-z])")
_RELATION = re.compile(r"[=<>]|\\(?:[lg]e|ne|equiv|approx)(?![a-z])")


def systems(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A system is the list of its rows; a function by cases is the collection of its (value, condition) pairs."""
    ours, theirs = _rows(answer), _rows(reference)
    if ours is None and theirs is None:
        return None
    if ours and theirs and any(condition for _, condition in ours + theirs):
        same = same_elements(
            lambda one, other: _same_case(comparer, ours[int(one)], theirs[int(other)]),
            map(str, range(len(ours))), map(str, range(len(theirs))),
        )  # fmt: skip
        return Finding(same, "cases")
    if any(condition for _, condition in (ours or []) + (theirs or [])):
        return None
    pair = [",".join(row for row, _ in rows) if rows else text for rows, text in ((ours, answer), (theirs, reference))]
    return comparer.compare(*pair)


def _same_case(comparer: Comparer, ours: tuple[str, str], theirs: tuple[str, str]) -> bool | None:
    value = comparer.equal(ours[0], theirs[0])
    if not value or ours[1] == theirs[1]:
        return value
    return comparer.equal(ours[1], theirs[1])


def _rows(text: str) -> list[tuple[str, str]] | None:
    """(equation or value, condition) of each row; the condition is "" in a system."""
    found = _ENVIRONMENT.fullmatch(text)
    if found is None or (found["name"] == "array" and not found["brace"]) or r"\begin" in found["rows"]:
        return None
    rows = []
    for row in found["rows"].split(r"\\"):
        cells = [cell.strip() for cell in row.split("&")]
        joined = "".join(cells)
        if not joined:
            continue
        conditional = (
            len(cells) == 2 and cells[1] and not _RELATION.match(cells[1]) and not _RELATION.search(cells[0][-4:])
        )
        condition = _CONDITION_WORDS.sub("", cells[1]).strip(" ,.") if conditional else ""
        rows.append(
            (cells[0].strip(" ,;") if conditional else joined.strip(" ,;"), condition or ("*" * bool(conditional)))
        )
    return rows or None
