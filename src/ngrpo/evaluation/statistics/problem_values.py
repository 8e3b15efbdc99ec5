"""Pass@k and AUC of every single problem, and several samples files brought to the same problems and the same k."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ngrpo.choices import UngradedAs
from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.matching import SamplesFile, check_same_problems
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k, powers_of_two


@dataclass(frozen=True, slots=True, eq=False)
class AlignedValues:
    """Values of several files over the same problems.

    `values` is [files, problems, statistics]: Pass@k for each of `ks`, then the AUC of 1, 2, 4, ..., `auc_max_k` where
    that is more than 1. `left_out` problems have no graded completion in one of the files.
    """

    values: NDArray[np.float64]
    ks: tuple[int, ...]
    auc_max_k: int
    problem_ids: tuple[str, ...]
    left_out: int

    @property
    def problems(self) -> int:
        """How many are compared."""
        return len(self.problem_ids)

    @property
    def has_auc(self) -> bool:
        """Whether the last statistic is the AUC; a curve of a single k has none."""
        return self.auc_max_k > 1


def problem_values(
    n: NDArray[np.int64], c: NDArray[np.int64], ks: Sequence[int], area_ks: Sequence[int]
) -> NDArray[np.float64]:
    """Returns the statistics of every problem: Pass@k for each of `ks`, then the AUC over `area_ks`.

    The area is linear in Pass@k: the mean of the problems' areas is the area under the mean curve.

    Args:
        n: completions per problem [problems], at least the largest k.
        c: correct ones [problems].
        ks: any values of k, or none.
        area_ks: 1, 2, 4, ...; a single one has no area, and no column.

    Returns:
        [problems, statistics], between 0 and 1.

    Raises:
        DataError, ConfigError: as `pass_at_k` does.

    Examples:
        >>> problem_values(np.array([4, 4]), np.array([0, 1]), [1, 2], [1, 2, 4])
        array([[0.    , 0.    , 0.    ],
               [0.25  , 0.5   , 0.5625]])
    """
    columns = {k: np.atleast_1d(pass_at_k(n, c, k)) for k in {*ks, *area_ks}}
    table = [columns[k] for k in ks]
    if len(area_ks) > 1:
        first, *between, last = (columns[k] for k in area_ks)
        area = ((first + last) / 2 + sum(between, np.zeros(len(n)))) / (len(area_ks) - 1)
        table.append(np.clip(area, 0.0, 1.0))
    return np.stack(table, axis=1) if table else np.empty((len(n), 0))


def checked_ungraded(ungraded: str) -> UngradedAs:
    """Returns the argument if it is "excluded" or "wrong", else raises ConfigError."""
    for choice in get_args(UngradedAs):
        if ungraded == choice:
            return choice  # type: ignore[no-any-return]
    raise ConfigError(f"ungraded must be one of {', '.join(get_args(UngradedAs))}; got {ungraded!r}")


def counted(counts: Counts, ungraded: str) -> NDArray[np.int64]:
    """Returns n per problem [problems]: the graded completions, or all of them where ungraded ones count as wrong.

    Raises:
        ConfigError: unless `ungraded` is "excluded" or "wrong".
    """
    return counts.n + counts.ungraded if checked_ungraded(ungraded) == "wrong" else counts.n


def even_samples(counts: Counts, *, uneven: bool = False) -> int:
    """Returns how many completions each problem has, graded or not; with `uneven`, the fewest of any.

    Raises:
        DataError: when they are not the same for all problems, with the name of one that differs, unless `uneven`.
    """
    totals = counts.n + counts.ungraded
    if uneven:
        return int(totals.min(initial=2**62)) if totals.size else 0
    values, frequencies = np.unique(totals, return_counts=True)
    usual = int(values[np.argmax(frequencies)]) if values.size else 0
    odd = np.flatnonzero(totals != usual)
    if odd.size:
        index = int(odd[0])
        raise DataError(
            f"problem {counts.problem_ids[index]!r} has {totals[index]} samples where others have {usual}: "
            "Pass@k over problems needs the same number for each, or --uneven"
        )
    return usual


def aligned_values(
    files: Sequence[SamplesFile], ks: Iterable[int] | None, ungraded: str, *, uneven: bool = False
) -> AlignedValues:
    """Returns the values of several files over the problems that all of them have graded completions of.

    Args:
        files: one or more; their problems may stand in any order and differ in n from file to file.
        ks: the values of k; by default 1, 2, 4, ... up to the fewest completions of any problem in any file.
        ungraded: "excluded" or "wrong".
        uneven: problems may differ in their number of completions.

    Raises:
        DataError: when the files do not hold the same problems, when one has uneven numbers of completions, or
            nothing graded is common to all.
        ConfigError: for a k below 1 or above the fewest completions.
    """
    first, *others = files
    for name, counts in files:
        try:
            even_samples(counts, uneven=uneven)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    check_same_problems(files)
    ids = first.counts.problem_ids
    n, c = (np.empty((len(files), len(ids)), dtype=np.int64) for _ in range(2))
    for row, (_, counts) in enumerate(files):
        index = {problem_id: at for at, problem_id in enumerate(counts.problem_ids)}
        order = [index[problem_id] for problem_id in ids]
        n[row], c[row] = counted(counts, ungraded)[order], counts.c[order]
    kept = (n > 0).all(axis=0)
    if not kept.any():
        raise DataError("Pass@k needs graded completions, got none" if not others else _nothing_common(files))
    n, c = n[:, kept], c[:, kept]
    fewest = int(n.min())
    chosen = powers_of_two(fewest) if ks is None else sorted(set(ks))
    if chosen and chosen[-1] > fewest:
        file, column = divmod(int(np.argmin(n)), n.shape[1])
        problem_id = ids[int(np.flatnonzero(kept)[column])]
        raise ConfigError(
            f"{files[file].name}: Pass@{chosen[-1]} needs {chosen[-1]} graded samples, "
            f"but problem {problem_id!r} has {fewest}"
        )
    area_ks = powers_of_two(fewest)
    values = np.stack([problem_values(one_n, one_c, chosen, area_ks) for one_n, one_c in zip(n, c, strict=True)])
    kept_ids = tuple(ids[at] for at in np.flatnonzero(kept))
    return AlignedValues(values, tuple(chosen), area_ks[-1], kept_ids, int(np.count_nonzero(~kept)))


def _nothing_common(files: Sequence[SamplesFile]) -> str:
    return f"no problem has graded completions in all of {', '.join(file.name for file in files)}"
