"""What a samples file holds beside verdicts: which completions repeat, were cut off or gave no answer; references."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import Entry, Identity

Integers = NDArray[np.int64]

TEXT, LENGTH, CUT, ANSWER, SILENT = 1, 2, 4, 8, 16
"""Flags of a completion: its text is known; whether it was cut off is known, and it was; likewise for no answer."""
NO_TEXT = -(2**63)


class Tally(NamedTuple):
    """By problem: completions that a statement holds for, and those it is known of [problems]."""

    hits: Integers
    known: Integers

    def share(self) -> float | None:
        """Returns the share over all problems, None where it is known of none."""
        known = int(self.known.sum())
        return int(self.hits.sum()) / known if known else None


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Of all completions, graded or not: `identical` to an earlier one of their problem, `truncated`, `no_answer`."""

    identical: Tally
    truncated: Tally
    no_answer: Tally

    def of(self, problems: Integers) -> Facts:
        """Returns those of some problems, by their indices."""
        tallies = (self.identical, self.truncated, self.no_answer)
        return Facts(*(Tally(tally.hits[problems], tally.known[problems]) for tally in tallies))


class FactShares(NamedTuple):
    """Shares of completions: identical to an earlier one of their problem, truncated, without an answer."""

    identical: float | None = None
    truncated: float | None = None
    no_answer: float | None = None


UNKNOWN = FactShares()


def fact_shares(facts: Iterable[Facts | None]) -> FactShares:
    """Returns the shares over several files; None where no file tells."""
    known = [one for one in facts if one is not None]
    return FactShares(
        _joined([one.identical for one in known]).share(),
        _joined([one.truncated for one in known]).share(),
        _joined([one.no_answer for one in known]).share(),
    )


def _joined(tallies: Sequence[Tally]) -> Tally:
    none = [np.zeros(0, dtype=np.int64)]
    return Tally(
        *(np.concatenate([*none, *column]) for column in (zip(*tallies, strict=True) if tallies else ([], [])))
    )


def facts_of(problem: Integers, text: Integers, flags: NDArray[np.int8], problems: int) -> Facts:
    """Returns the facts from columns by completion: the index of its problem, a digest of its text, its flags."""

    def count(*wanted: int) -> Integers:
        chosen = np.ones(len(flags), dtype=bool)
        for flag in wanted:
            chosen &= (flags & flag) != 0
        return np.bincount(problem[chosen], minlength=problems)

    with_text = np.flatnonzero(flags & TEXT)
    order = with_text[np.lexsort((text[with_text], problem[with_text]))]
    same = (problem[order[1:]] == problem[order[:-1]]) & (text[order[1:]] == text[order[:-1]])
    repeats = np.bincount(problem[order[1:][same]], minlength=problems)
    return Facts(Tally(repeats, count(TEXT)), Tally(count(CUT), count(LENGTH)), Tally(count(SILENT), count(ANSWER)))


@dataclass(slots=True)
class FactColumns:
    """Collects the facts of entries, 9 bytes an entry, and checks that an id is one problem."""

    text: array[int] = field(default_factory=lambda: array("q"))
    flags: array[int] = field(default_factory=lambda: array("b"))
    identities: list[tuple[Identity, int]] = field(default_factory=list)

    def add(self, index: int, entry: Entry) -> None:
        """Adds an entry of a problem; raises DataError when its reference is not that of the problem's first."""
        if index == len(self.identities):
            self.identities.append((entry.identity, entry.line))
        else:
            identity, line = self.identities[index]
            if identity != entry.identity and (key := contradiction(identity, entry.identity)):
                here, there = dict(entry.identity)[key], dict(identity)[key]
                raise DataError(
                    f"problem {entry.problem_id!r} has the {key} {shortened(here)} here and {shortened(there)} in line "
                    f"{line}: an id must be one problem"
                )
        known = (entry.text is not None) * TEXT
        if entry.truncated is not None:
            known |= LENGTH | entry.truncated * CUT
        if entry.silent is not None:
            known |= ANSWER | entry.silent * SILENT
        self.text.append(entry.text or 0)
        self.flags.append(known)


def contradiction(first: Identity, second: Identity) -> str:
    """Returns the first key that both have with other values, empty where nothing contradicts.

    >>> contradiction((("reference", "4"),), (("reference", "5"),))
    'reference'
    """
    known = dict(first)
    return next((key for key, value in second if known.get(key, value) != value), "")


def shortened(value: str, length: int = 60) -> str:
    """Returns a value for a message, on one line."""
    return repr(value if len(value) <= length else value[: length - 3] + "...")


def text_digests(texts: Sequence[str | None]) -> Integers:
    """Returns digests that tell texts apart within this process; `NO_TEXT` for None."""
    return np.fromiter((NO_TEXT if text is None else hash(text) for text in texts), dtype=np.int64, count=len(texts))
