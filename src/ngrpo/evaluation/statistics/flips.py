"""The problems that two methods disagree on: solved by one only, or mostly by one only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ngrpo.evaluation.statistics.matching import SamplesFile, check_same_problems
from ngrpo.evaluation.statistics.problem_values import counted


class Flip(NamedTuple):
    """A problem that flipped: correct completions and all of them, over the files of A and of B."""

    problem_id: str
    kind: str
    correct_a: int
    of_a: int
    correct_b: int
    of_b: int

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return self._asdict()


def flips(a: Sequence[SamplesFile], b: Sequence[SamplesFile], *, ungraded: str = "excluded") -> list[Flip]:
    """Returns the problems that one of A and B solves at least once and the other never, then those that one solves in
    more than half of its completions and the other does not; the largest difference first.

    Raises:
        DataError: unless all files hold the same problems.
        ConfigError: for another `ungraded`.

    Examples:
        >>> import numpy as np
        >>> from ngrpo.evaluation.samples.counts import Counts
        >>> files = [Counts(("p",), np.array([4]), np.array([c]), np.array([0])) for c in (1, 0)]
        >>> flips([SamplesFile("A", files[0])], [SamplesFile("B", files[1])])
        [Flip(problem_id='p', kind='solved by A only', correct_a=1, of_a=4, correct_b=0, of_b=4)]
    """
    check_same_problems([*a, *b])
    sides = [_sums(side, ungraded) for side in (a, b)]
    found = []
    for problem_id in a[0].counts.problem_ids:
        (c_a, n_a), (c_b, n_b) = (side[problem_id] for side in sides)
        if not (n_a and n_b):
            continue
        if kind := _kind(c_a / n_a, c_b / n_b):
            found.append(Flip(problem_id, kind, c_a, n_a, c_b, n_b))
    return sorted(
        found,
        key=lambda flip: (flip.kind, -abs(flip.correct_a / flip.of_a - flip.correct_b / flip.of_b)),
        reverse=False,
    )


def _sums(files: Sequence[SamplesFile], ungraded: str) -> dict[str, tuple[int, int]]:
    sums: dict[str, tuple[int, int]] = {}
    for _, counts in files:
        for problem_id, c, n in zip(counts.problem_ids, counts.c, counted(counts, ungraded), strict=True):
            correct, total = sums.get(problem_id, (0, 0))
            sums[problem_id] = correct + int(c), total + int(n)
    return sums


def _kind(a: float, b: float) -> str:
    for name, at_least in (("solved", 0.0), ("mostly correct", 0.5)):
        if (a > at_least) != (b > at_least):
            by = "A" if a > b else "B"
            return f"solved by {by} only" if name == "solved" else f"mostly correct in {by} only"
    return ""
