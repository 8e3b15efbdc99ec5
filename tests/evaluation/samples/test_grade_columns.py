"""What is there twice, and what lacks, found as a plain search finds it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.grade_columns import Verdicts

Key = tuple[int, int, int]


def verdicts(keys: list[Key]) -> Verdicts:
    columns = [np.array([key[place] for key in keys], dtype=np.int64) for place in range(3)]
    line = np.arange(1, len(keys) + 1, dtype=np.int64)
    return Verdicts(("a", "b", "c"), *columns, np.zeros(len(keys), np.int8), line)


def fault(keys: list[Key], numbered: bool) -> str | None:
    try:
        verdicts(keys).check(numbered=numbered)
    except DataError as error:
        return str(error)
    return None


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 5, 2**62]), st.integers(0, 3)), max_size=12))
def test_duplicates_and_gaps_are_those_of_a_plain_search(keys: list[Key]) -> None:
    times = Counter(keys)
    groups = {(problem, seed) for problem, seed, _ in keys}
    gaps = any(
        (*group, sample) not in times
        for group in groups
        for sample in range(max(key[2] for key in keys if key[:2] == group))
    )
    twice = any(count > 1 for count in times.values())
    assert (fault(keys, False) is not None) == twice
    assert (fault(keys, True) is not None) == (twice or gaps)


def test_the_lines_of_a_sample_that_is_there_twice() -> None:
    assert fault([(0, 0, 0), (1, 0, 4), (0, 0, 1), (1, 0, 4)], False) == (
        "duplicate sample 4 of problem 'b' (lines 2 and 4)"
    )
    assert fault([(1, 3, 4), (1, 0, 4), (1, 3, 4)], False) == (
        "duplicate sample 4 of problem 'b' with seed 3 (lines 1 and 3)"
    )


@pytest.mark.parametrize("large", [9, 2**40, 2**63 - 1])
def test_the_first_sample_that_lacks(large: int) -> None:
    assert fault([(0, 0, 0), (2, 0, 0), (2, 0, large)], True) == (
        "sample 1 of problem 'c' is missing, but a later one is present"
    )
    assert fault([(0, 0, 0), (2, 0, 0), (2, 0, large)], False) is None
    assert fault([(2, 0, large), (0, 0, 0), (2, 0, large)], False) is not None
