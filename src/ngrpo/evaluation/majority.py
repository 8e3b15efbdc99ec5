"""maj@k: how often a majority vote among k completions of a problem is correct.

mean@k, the mean correctness of k completions, needs nothing of its own: its expectation is Pass@1 for every k.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.counts import read_entries
from ngrpo.evaluation.entries import CORRECT, UNGRADED, Entry
from ngrpo.evaluation.pass_at_k import pass_at_k, powers_of_two

DRAWS = 1000


@dataclass(slots=True)
class Votes:
    """What the graded completions of one problem vote for.

    `correct` vote for a correct answer, and all of those count as one; `wrong` has the number of votes for each wrong
    answer, by its text; `silent` gave no answer.
    """

    correct: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    silent: int = 0

    @property
    def completions(self) -> int:
        """All of them, the silent included."""
        return self.correct + self.wrong.total() + self.silent


def read_votes(path: str | Path, *, metric: str | None = None, filter_name: str | None = None) -> dict[str, Votes]:
    """Returns the votes of each problem of a file whose lines have answers, in the order of the file.

    Answers are compared by their text, without white space around it. Ungraded completions are left out: a problem all
    of whose completions are ungraded has no votes. A correct completion votes even where its line has no answer.

    Args:
        path: JSON lines: ngrpo's (`answer`), the reference implementation's (`pred_answer`), a sample log of
            lm-evaluation-harness (`filtered_resps`), or a dump of verl (`pred`).
        metric: as in `read_counts`.
        filter_name: as in `read_counts`.

    Raises:
        DataError: as `read_counts`; for a file without answers.
        ConfigError: as `read_counts`.
    """
    votes: dict[str, Votes] = {}

    def take(entry: Entry) -> None:
        own = votes.setdefault(entry.problem_id, Votes())
        if entry.verdict == CORRECT:
            own.correct += 1
        elif entry.verdict != UNGRADED and entry.answer is not None:
            own.wrong[entry.answer] += 1
        elif entry.verdict != UNGRADED:
            own.silent += 1

    read_entries(path, take, metric=metric, filter_name=filter_name)
    return votes


def majority_curve(
    votes: Iterable[Votes], ks: Iterable[int] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> dict[int, float]:
    """Returns maj@k for several k, each the mean over the problems that have graded completions.

    Args:
        votes: of each problem, such as `read_votes(path).values()`.
        ks: the values of k; by default 1, 2, 4, ... up to the fewest graded completions of any problem.
        draws: as in `majority_at_k`.
        seed: of the draws. Each k has its own: its value does not depend on which others are asked for.

    Raises:
        DataError: when no problem has a graded completion.
        ConfigError: for a k below 1 or above the fewest graded completions, or for no draws.

    Example:
        >>> majority_curve([Votes(correct=2, wrong=Counter({"7": 1})), Votes(wrong=Counter({"7": 3}))], [1, 3])
        {1: 0.333..., 3: 0.5}
    """
    graded = [own for own in votes if own.completions]
    if not graded:
        raise DataError("maj@k needs graded completions, got none")
    fewest = min(own.completions for own in graded)
    curve = {}
    for k in powers_of_two(fewest) if ks is None else sorted(set(ks)):
        generator = np.random.default_rng([seed, max(k, 0)])
        curve[k] = float(np.mean([majority_at_k(own, k, generator, draws=draws) for own in graded]))
    return curve


def majority_at_k(votes: Votes, k: int, generator: np.random.Generator, *, draws: int = DRAWS) -> float:
    """Returns the expected correctness of a majority vote over k completions drawn without replacement.

    A tie is split evenly: of m answers with the most votes, the correct one among them counts 1/m. Without any vote the
    result is wrong. Exact, without a draw, for k = 1, for k = n, and where no wrong answer has a vote; otherwise the
    mean over draws, whose standard error is at most 0.5 / sqrt(draws).

    Args:
        votes: of one problem.
        k: completions that vote.
        generator: of the draws.
        draws: how many.

    Raises:
        ConfigError: for a k below 1 or above the number of completions, or for no draws.

    Example:
        >>> votes = Votes(correct=2, wrong=Counter({"7": 2, "8": 1}))
        >>> majority_at_k(votes, 5, np.random.default_rng(0))
        0.5
    """
    n = votes.completions
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n:
        raise ConfigError(f"k of maj@k must be a whole number from 1 to {n}, the graded completions; got {k!r}")
    if draws < 1:
        raise ConfigError(f"draws must be >= 1, got {draws}")
    wrong = [votes.wrong[answer] for answer in sorted(votes.wrong)]
    if votes.correct == 0:
        return 0.0
    if k == 1 or not wrong:
        # Of correct and silent completions alone, one correct vote decides: that is Pass@k.
        return pass_at_k(n, votes.correct, k)
    colors = [votes.correct, *wrong, votes.silent]
    if k == n:
        return float(_share_won([colors])[0])
    return float(np.mean(_share_won(generator.multivariate_hypergeometric(colors, k, size=draws))))


def _share_won(drawn: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Returns, of each row of votes (correct, wrong ones, silent), the correct answer's share of the victory."""
    answers = np.asarray(drawn)[:, :-1]
    most = answers.max(axis=1)
    winners = (answers == most[:, None]).sum(axis=1)
    won = (answers[:, 0] == most) & (most > 0)
    return np.where(won, 1.0 / winners, 0.0)
