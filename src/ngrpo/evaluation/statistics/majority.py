"""maj@k: how often a majority vote among k completions of a problem is correct.

mean@k, the mean correctness of k completions, needs nothing of its own: its expectation is Pass@1 for every k.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import read_answers, read_entries
from ngrpo.evaluation.samples.entry import CORRECT, NO_CHOICES, UNGRADED, Choices, Entry
from ngrpo.evaluation.samples.grade_columns import Answers, Verdicts
from ngrpo.evaluation.statistics.intervals import Clusters, Interval, mean_intervals
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k, powers_of_two
from ngrpo.evaluation.statistics.units import Floats
from ngrpo.evaluation.statistics.vote_shares import MOST_WORK, drawn_shares, exact_shares, exact_work

DRAWS = 10_000
"""Of a problem with too many completions for the exact value: a standard error of at most 0.005."""


@dataclass(slots=True)
class Votes:
    """What the graded completions of one problem vote for.

    `correct` vote for a correct answer, and all of those count as one; `wrong` has the number of votes for each wrong
    answer, by its text; `silent` gave no answer. `right` has the texts of correct answers where lines have them.
    """

    correct: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    right: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def completions(self) -> int:
        """All of them, the silent included."""
        return self.correct + self.wrong.total() + self.silent


class Split(NamedTuple):
    """One answer of a problem that was graded both ways, and how often each."""

    problem_id: str
    answer: str
    correct: int
    wrong: int


class MajorityCurve(NamedTuple):
    """maj@k by k with its intervals (none for a single problem), and whether every value is exact."""

    shares: dict[int, float]
    intervals: dict[int, Interval]
    exact: bool


def read_votes(path: str | Path, choices: Choices = NO_CHOICES) -> dict[str, Votes]:
    """Returns the votes of each problem of a file whose lines have answers, in the order of the file.

    Answers are compared by their text, without white space around it. Ungraded completions are left out: a problem all
    of whose completions are ungraded has no votes. A correct completion votes even where its line has no answer.

    Args:
        path: JSON lines: ngrpo's (`answer`), the reference implementation's (`pred_answer`), a sample log of
            lm-evaluation-harness (`filtered_resps`), a dump of verl (`pred`), a log of inspect_ai, or a table with
            a column such as `extracted_answer`.
        choices: as in `read_counts`.

    Raises:
        DataError: as `read_counts`; for a file without answers.
        ConfigError: as `read_counts`.
    """
    fast = read_answers(path, choices)
    if fast is not None and fast.answers is not None:
        return _votes_of(fast, fast.answers)
    votes: dict[str, Votes] = {}

    def take(entry: Entry) -> None:
        own = votes.setdefault(entry.problem_id, Votes())
        if entry.verdict == CORRECT:
            own.correct += 1
            if entry.answer is not None:
                own.right[entry.answer] += 1
        elif entry.verdict != UNGRADED and entry.answer is not None:
            own.wrong[entry.answer] += 1
        elif entry.verdict != UNGRADED:
            own.silent += 1

    read_entries(path, take, choices)
    return votes


def _votes_of(verdicts: Verdicts, answers: Answers) -> dict[str, Votes]:
    votes = {problem_id: Votes() for problem_id in verdicts.problem_ids}
    silent = len(answers.texts)
    graded = verdicts.verdict != UNGRADED
    judged = verdicts.problem[graded] * 2 + (verdicts.verdict[graded] == CORRECT)
    keys, first, counts = np.unique(
        judged * (silent + 1) + answers.codes[graded], return_index=True, return_counts=True
    )
    order = np.argsort(first)  # as a reader meets them
    for key, count in zip(keys[order].tolist(), counts[order].tolist(), strict=True):
        judgement, code = divmod(key, silent + 1)
        problem, correct = divmod(judgement, 2)
        own = votes[verdicts.problem_ids[problem]]
        if correct:
            own.correct += count
            if code != silent:
                own.right[answers.texts[code]] += count
        elif code == silent:
            own.silent += count
        else:
            own.wrong[answers.texts[code]] += count
    return votes


def split_verdicts(votes: Mapping[str, Votes]) -> Iterator[Split]:
    """Yields the answers that some completions of a problem were marked correct for and others wrong.

    Their votes are split between the correct answer and a wrong one of the same text.

    Examples:
        >>> list(split_verdicts({"p": Votes(2, Counter({"7": 1}), right=Counter({"7": 2}))}))
        [Split(problem_id='p', answer='7', correct=2, wrong=1)]
    """
    for problem_id, own in votes.items():
        for answer in own.right:
            if answer in own.wrong:
                yield Split(problem_id, answer, own.right[answer], own.wrong[answer])


def majority_curve(
    votes: Iterable[Votes],
    ks: Iterable[int] | None = None,
    *,
    clusters: Clusters | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> MajorityCurve:
    """Returns maj@k for several k, each the mean over the problems that have graded completions, with intervals.

    Args:
        votes: of each problem, such as `read_votes(path).values()`.
        ks: the values of k; by default 1, 2, 4, ... up to the fewest graded completions of any problem.
        clusters: of each problem, as in `mean_intervals`.
        draws: as in `majority_shares`.
        seed: of the draws and of the bootstrap. The value of a k does not depend on which others are asked for.

    Raises:
        DataError: when no problem has a graded completion.
        ConfigError: for a k below 1 or above the fewest graded completions, or for no draws.

    Examples:
        >>> majority_curve([Votes(correct=2, wrong=Counter({"7": 1})), Votes(wrong=Counter({"7": 3}))], [1, 3]).shares
        {1: 0.333..., 3: 0.5}
    """
    listed = list(votes)
    kept = [at for at, own in enumerate(listed) if own.completions]
    if not kept:
        raise DataError("maj@k needs graded completions, got none")
    graded = [listed[at] for at in kept]
    fewest = min(own.completions for own in graded)
    chosen = powers_of_two(fewest) if ks is None else sorted(set(ks))
    values = np.stack([majority_shares(own, chosen, draws=draws, seed=seed) for own in graded])
    own_clusters = None if clusters is None else [clusters[at] for at in kept]
    intervals = {}
    if len(set(own_clusters or kept)) > 1:
        ends = mean_intervals(values, clusters=own_clusters, seed=seed)
        intervals = {k: Interval(*map(float, pair)) for k, pair in zip(chosen, ends, strict=True)}
    shares = {k: float(share) for k, share in zip(chosen, values.mean(axis=0), strict=True)}
    return MajorityCurve(shares, intervals, all(_is_exact(own, k) for own in graded for k in chosen))


def majority_shares(votes: Votes, ks: Sequence[int], *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Returns the expected correctness of a majority vote over k completions drawn without replacement [ks].

    A tie is split evenly: of m answers with the most votes, the correct one among them counts 1/m. Without any vote the
    result is wrong. The value is exact up to 1,000 completions; beyond, unless k = 1, k = n or no wrong answer has a
    vote, it is the mean over draws, whose standard error is at most 0.5 / sqrt(draws).

    Args:
        votes: of one problem.
        ks: completions that vote.
        draws: how many, where the exact value would take long.
        seed: of the draws. Each k has its own.

    Raises:
        ConfigError: for a k below 1 or above the number of completions, or for no draws.

    Examples:
        >>> majority_shares(Votes(correct=2, wrong=Counter({"7": 2, "8": 1})), [1, 3, 5]).tolist()
        [0.4, 0.433..., 0.5]
    """
    n = votes.completions
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= n:
            raise ConfigError(f"k of maj@k must be a whole number from 1 to {n}, the graded completions; got {k!r}")
    if draws < 1:
        raise ConfigError(f"draws must be >= 1, got {draws}")
    wrong = sorted(votes.wrong.values())
    if votes.correct == 0:
        return np.zeros(len(ks))
    if not wrong:
        # Of correct and silent completions alone, one correct vote decides: that is Pass@k.
        return np.array([pass_at_k(n, votes.correct, k) for k in ks])
    if exact_work(votes.correct, wrong, votes.silent) <= MOST_WORK:
        return _exact_values(votes.correct, wrong, votes.silent, ks)
    colors = [votes.correct, *wrong, votes.silent]
    return np.array(
        [votes.correct / n if k == 1 else drawn_shares(colors, k, draws, np.random.default_rng([seed, k])) for k in ks]
    )


def _exact_values(correct: int, wrong: Sequence[int], silent: int, ks: Sequence[int]) -> Floats:
    """Returns the exact value for each k; the vote of all completions needs no count of the ways to draw them."""
    n, most = correct + sum(wrong) + silent, max(wrong)
    of_all = 0.0 if correct < most else 1.0 / (1 + wrong.count(correct))
    fewer = [k for k in ks if k < n]
    shares = exact_shares(correct, wrong, silent, max(fewer)) if fewer else np.zeros(1)
    return np.array([of_all if k == n else shares[k] for k in ks])


def _is_exact(votes: Votes, k: int) -> bool:
    if votes.correct == 0 or not votes.wrong or k in (1, votes.completions):
        return True
    return exact_work(votes.correct, list(votes.wrong.values()), votes.silent) <= MOST_WORK
