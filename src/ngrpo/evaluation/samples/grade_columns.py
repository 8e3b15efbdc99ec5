"""The grades of a file's completions as columns, checked for duplicate and missing samples."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import Entry, Identity
from ngrpo.evaluation.samples.facts import FactColumns

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answer of each completion: an index into `texts`, or their number where it has none."""

    texts: tuple[str, ...]
    codes: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """A row per completion: the index of its problem in `problem_ids`, and what its line said.

    `line` is where it stands, from 1. `reasons` counts why completions are ungraded, where the lines say so. `text` and
    `flags` are those of `facts_of`, `identities` those of the problems.
    """

    problem_ids: tuple[str, ...]
    problem: Integers
    seed: Integers
    sample: Integers
    verdict: NDArray[np.int8]
    line: Integers
    reasons: Mapping[str, int] = field(default_factory=Counter)
    text: Integers | None = None
    flags: NDArray[np.int8] | None = None
    identities: tuple[Identity, ...] = ()
    answers: Answers | None = None

    def check(self, *, numbered: bool, place: str = "line") -> None:
        """Refuses a sample that is there twice and, where samples are `numbered` 0, 1, 2, ..., one that lacks.

        The key of a sample is its problem, seed and number: evaluations with several sampling seeds may stand in
        one file. `place` is what a row of the file is called.

        Raises:
            DataError: naming the sample.
        """
        seeds, seed = (np.zeros(1), 0) if not self.seed.any() else np.unique(self.seed, return_inverse=True)
        group = self.problem * len(seeds) + seed
        order = self._order(group)
        same = (group[order[1:]] == group[order[:-1]]) & (self.sample[order[1:]] == self.sample[order[:-1]])
        if same.any():
            at = int(np.flatnonzero(same)[0])
            first, second = sorted((int(order[at]), int(order[at + 1])))
            raise DataError(
                f"duplicate {self._name(first, int(self.sample[first]))} "
                f"({place}s {self.line[first]} and {self.line[second]})"
            )
        if numbered:
            self._refuse_gaps(group, order)

    def _order(self, group: Integers) -> Integers:
        width = int(self.sample.max(initial=0)) + 1
        if int(group.max(initial=0)) < 2**62 // width:
            return np.argsort(group * width + self.sample, kind="stable")
        return np.lexsort((self.sample, group))

    def _refuse_gaps(self, group: Integers, order: Integers) -> None:
        ordered, sample = group[order], self.sample[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, np.int64)
        lengths = np.diff(np.r_[starts, len(ordered)])
        # Without duplicates, sample i of a group stands at its i-th place exactly when none before it lacks.
        place = np.arange(len(ordered)) - np.repeat(starts, lengths)
        gaps = np.flatnonzero(sample != place)
        if gaps.size:
            at = int(gaps[0])
            raise DataError(f"{self._name(int(order[at]), int(place[at]))} is missing, but a later one is present")

    def _name(self, row: int, sample: int) -> str:
        seed = f" with seed {self.seed[row]}" if self.seed.any() else ""
        return f"sample {sample} of problem {self.problem_ids[self.problem[row]]!r}{seed}"


@dataclass(slots=True)
class VerdictColumns:
    """The parts of all entries that counting needs, 34 bytes an entry."""

    indices: dict[str, int] = field(default_factory=dict)
    problem: array[int] = field(default_factory=lambda: array("i"))
    seed: array[int] = field(default_factory=lambda: array("q"))
    sample: array[int] = field(default_factory=lambda: array("q"))
    verdict: array[int] = field(default_factory=lambda: array("b"))
    line: array[int] = field(default_factory=lambda: array("i"))
    reasons: Counter[str] = field(default_factory=Counter)
    facts: FactColumns = field(default_factory=FactColumns)

    def add(self, entry: Entry) -> None:
        """Adds an entry; raises DataError where its id is that of another problem."""
        index = self.indices.setdefault(entry.problem_id, len(self.indices))
        self.facts.add(index, entry)
        self.problem.append(index)
        self.seed.append(entry.seed)
        self.sample.append(entry.sample)
        self.verdict.append(entry.verdict)
        self.line.append(entry.line)
        if entry.reason:
            self.reasons[entry.reason] += 1

    def verdicts(self) -> Verdicts:
        """Returns the columns as arrays."""
        return Verdicts(
            problem_ids=tuple(self.indices),
            problem=np.array(self.problem, dtype=np.int64),
            seed=np.array(self.seed, dtype=np.int64),
            sample=np.array(self.sample, dtype=np.int64),
            verdict=np.array(self.verdict, dtype=np.int8),
            line=np.array(self.line, dtype=np.int64),
            reasons=self.reasons,
            text=np.array(self.facts.text, dtype=np.int64),
            flags=np.array(self.facts.flags, dtype=np.int8),
            identities=tuple(identity for identity, _ in self.facts.identities),
        )
