"""What is reported of one samples file: Pass@k for several k, its area, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.pass_at_k import auc, pass_at_k_curve, powers_of_two
from ngrpo.evaluation.samples import Counts


@dataclass(frozen=True, slots=True)
class Summary:
    """Pass@k over the problems of one samples file, as shares between 0 and 1.

    `samples` counts all completions, the ungraded among them. Pass@k is computed from the graded ones, over
    the problems that have any: `ungraded_problems` have none. `auc` is always that of k = 1, 2, 4, ...,
    `auc_max_k`, the largest power of two that each of these problems has graded completions for; None when
    that is 1.
    """

    problems: int
    samples: int
    samples_per_problem: int
    ungraded: int
    ungraded_problems: int
    pass_at_k: dict[int, float]
    auc: float | None
    auc_max_k: int

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, with k as a string key."""
        return {
            "problems": self.problems,
            "samples": self.samples,
            "samples_per_problem": self.samples_per_problem,
            "ungraded": self.ungraded,
            "ungraded_problems": self.ungraded_problems,
            "pass_at_k": {str(k): share for k, share in self.pass_at_k.items()},
            "auc": self.auc,
            "auc_max_k": self.auc_max_k,
        }


def summarize(counts: Counts, ks: Iterable[int] | None = None) -> Summary:
    """Returns the summary of a samples file.

    Args:
        counts: what `read_counts` returned.
        ks: the values of k to report; by default 1, 2, 4, ... up to the fewest graded completions of any.

    Raises:
        DataError: when problems differ in their number of completions, graded or not, or none was graded.
        ConfigError: for a k below 1 or above the fewest graded completions of any problem.
    """
    samples_per_problem = _even_samples(counts)
    graded = counts.n > 0
    if not graded.any():
        raise DataError("Pass@k needs graded completions, got none")
    n, c = counts.n[graded], counts.c[graded]
    fewest = int(n.min())
    if ks is not None:
        ks = sorted(set(ks))
        if ks and ks[-1] > fewest:
            name = counts.problem_ids[int(np.flatnonzero(graded)[np.argmin(n)])]
            raise ConfigError(f"Pass@{ks[-1]} needs {ks[-1]} graded samples, but problem {name!r} has {fewest}")
    area_ks = powers_of_two(fewest)
    return Summary(
        problems=len(counts.problem_ids),
        samples=samples_per_problem * len(counts.problem_ids),
        samples_per_problem=samples_per_problem,
        ungraded=int(counts.ungraded.sum()),
        ungraded_problems=int(np.count_nonzero(~graded)),
        pass_at_k=pass_at_k_curve(n, c, ks),
        auc=auc(pass_at_k_curve(n, c, area_ks)),
        auc_max_k=area_ks[-1],
    )


def _even_samples(counts: Counts) -> int:
    totals = counts.n + counts.ungraded
    values, frequencies = np.unique(totals, return_counts=True)
    usual = int(values[np.argmax(frequencies)]) if values.size else 0
    odd = np.flatnonzero(totals != usual)
    if odd.size:
        index = int(odd[0])
        raise DataError(
            f"problem {counts.problem_ids[index]!r} has {totals[index]} samples where others have {usual}: "
            "Pass@k over problems needs the same number for each"
        )
    return usual
