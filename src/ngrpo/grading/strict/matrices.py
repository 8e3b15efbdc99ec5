r"""Matrices and column vectors: their cells, factors in front of them, sums, and the ways of writing them."""

from __future__ import annotations

import re

from ngrpo.grading.strict.brackets import closes_at_end, sequence, split_at
from ngrpo.grading.strict.comparer import Comparer, Finding, all_equal

Rows = tuple[tuple[str, ...], ...]

MAX_CELLS = 400

_NAME = r"(?:[pbB]?matrix|smallmatrix|array)\*?"
_MATRIX = re.compile(rf"\\begin\{{{_NAME}\}}(?:\{{[lcr|@. ]*\}}|\[[lcr]\])?(.*)\\end\{{{_NAME}\}}", re.S)
_TRANSPOSED = re.compile(r"(.*)\^(?:\{?\\?(?:text\{)?\s*(?:T|top|intercal)\s*\}{0,2})", re.S)
_BEGIN = re.compile(r"\\begin\{(?:[pbB]?matrix|smallmatrix|array)")


def matrices(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """Matrices of the same shape are equal cell by cell; a column or row is the tuple of its cells."""
    if not (_BEGIN.search(answer) or _BEGIN.search(reference)):
        return None
    ours, theirs = matrix(answer), matrix(reference)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        if [len(row) for row in ours] != [len(row) for row in theirs]:
            return Finding(False, "matrix")
        cells = [pair for rows in zip(ours, theirs, strict=True) for pair in zip(*rows, strict=True)]
        return Finding(all_equal(comparer.equal(*pair) for pair in cells), "matrix")
    rows, other = (ours or theirs or ()), (reference if ours is not None else answer)
    listed = sequence(other)
    if listed is None or listed.opening + listed.closing not in ("()", r"\langle\rangle", "[]"):
        return None
    nested = [sequence(part) for part in listed.parts]
    if all(inner is not None and inner.opening in ("[", "(") for inner in nested):
        theirs_rows = tuple(inner.parts for inner in nested if inner is not None)
        return _same_cells(comparer, rows, theirs_rows, ours is not None)
    if not (len(rows) == 1 or all(len(row) == 1 for row in rows)):
        return None
    cells_of_vector = tuple(cell for row in rows for cell in row)
    return _same_cells(comparer, (cells_of_vector,), (listed.parts,), ours is not None)


def _same_cells(comparer: Comparer, rows: Rows, others: Rows, rows_are_ours: bool) -> Finding:
    if [len(row) for row in rows] != [len(row) for row in others]:
        return Finding(False, "vector")
    pairs = [pair for two in zip(rows, others, strict=True) for pair in zip(*two, strict=True)]
    return Finding(all_equal(comparer.equal(*(p if rows_are_ours else p[::-1])) for p in pairs), "vector")


def matrix(text: str) -> Rows | None:
    r"""Returns the rows of a matrix, or None; factors are multiplied in and sums added, as text.

    >>> matrix(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}")
    (('1', '2'), ('3', '4'))
    >>> matrix(r"2\begin{pmatrix}3\\5\end{pmatrix}")
    (('(2)(3)',), ('(2)(5)',))
    """
    terms = _terms(text)
    if not terms:
        return None
    total: Rows | None = None
    for sign, term in terms:
        rows = _term(term)
        if rows is None or sum(map(len, rows)) > MAX_CELLS:
            return None
        if sign == "-":
            rows = _mapped(rows, "-({})")
        if total is None:
            total = rows
        elif [len(row) for row in rows] != [len(row) for row in total]:
            return None
        else:
            total = tuple(
                tuple(f"({one})+({other})" for one, other in zip(*two, strict=True))
                for two in zip(total, rows, strict=True)
            )
    return total


def _terms(text: str) -> list[tuple[str, str]]:
    """Signs and terms of a sum of matrices; empty where a term has none."""
    if "\\begin" not in text:
        return []
    terms: list[tuple[str, str]] = []
    for number, part in enumerate(split_at(text, "+")):
        for place, piece in enumerate(split_at(part, "-")):
            if not piece and number == place == 0:
                continue
            terms.append(("-" if place else "+", piece))
    return terms if all(r"\begin" in term for _, term in terms) else []


def _term(text: str) -> Rows | None:
    for opening, closing in (("(", ")"), ("[", "]"), ("{", "}")):
        if text.startswith(opening) and text.endswith(closing) and closes_at_end(text) and r"\begin" in text:
            return matrix(text[1:-1].strip())
    if found := _TRANSPOSED.fullmatch(text):
        rows = _term(found[1])
        if rows is None or len({len(row) for row in rows}) != 1:
            return None
        return tuple(zip(*rows, strict=True))
    begin, end = text.find(r"\begin"), text.rfind("}") + 1
    factor, behind = text[:begin].strip().removesuffix(r"\cdot").strip(), text[end:].strip()
    wrapped = factor[-1:] + behind[:1] in ("()", "[]")
    if wrapped:
        factor, behind = factor[:-1].removesuffix(r"\cdot").strip(), behind[1:].strip()
    rows = _rows(text[begin:end])
    if rows is None or behind or re.search(r"[=<>,]", factor):
        return None
    return _mapped(rows, f"({factor})({{}})") if factor else rows


def _rows(text: str) -> Rows | None:
    found = _MATRIX.fullmatch(text)
    if found is None or r"\begin" in found[1]:
        return None
    rows = [row.strip() for row in found[1].replace(r"\hline", "").split(r"\\")]
    return tuple(tuple(cell.strip() for cell in row.split("&")) for row in rows if row)


def _mapped(rows: Rows, form: str) -> Rows:
    before, after = form.split("{}")
    return tuple(tuple(f"{before}{cell}{after}" for cell in row) for row in rows)
