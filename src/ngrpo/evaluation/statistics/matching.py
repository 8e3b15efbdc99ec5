"""Whether several samples files are of the same problems: ids, and what else their lines hold of the problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.samples.facts import contradiction, shortened


class SamplesFile(NamedTuple):
    """The counts of one samples file and the name that errors call it by."""

    name: str
    counts: Counts


class Matched(NamedTuple):
    """Samples files over the same problems, and lines for the reader on what was left out."""

    files: list[SamplesFile]
    notes: list[str]


def check_same_problems(files: Sequence[SamplesFile]) -> None:
    """Checks that all files hold the same problems.

    Raises:
        DataError: naming the first problem that a file lacks, or whose reference, target or digest differs.
    """
    first, *others = files
    for other in others:
        _refuse_missing(first, other)
        places = _places(other.counts)
        for at, problem_id in enumerate(first.counts.problem_ids):
            here, there = _identity(first.counts, at), _identity(other.counts, places[problem_id])
            if here != there and (key := contradiction(here, there)):
                raise DataError(
                    f"problem {problem_id!r} has the {key} {shortened(dict(here)[key])} in {first.name} and "
                    f"{shortened(dict(there)[key])} in {other.name}: two benchmarks, or another version of one; "
                    "--only-common compares the problems that agree"
                )


def common_problems(files: Sequence[SamplesFile]) -> Matched:
    """Returns the files with the problems that all of them hold, with the same references, targets and digests.

    Raises:
        DataError: when there is none.
    """
    first, *others = files
    places = [_places(file.counts) for file in files]
    everywhere = [name for name in first.counts.problem_ids if all(name in of_file for of_file in places)]
    kept = [
        name
        for name in everywhere
        if not any(
            contradiction(_identity(first.counts, places[0][name]), _identity(other.counts, places[number][name]))
            for number, other in enumerate(others, start=1)
        )
    ]
    if not kept:
        raise DataError(f"no problem is common to {', '.join(file.name for file in files)}")
    notes = []
    for file, of_file in zip(files, places, strict=True):
        if alone := len(of_file) - len(everywhere):
            notes.append(f"{file.name}: {alone} of {len(of_file)} problems left out, not in all files")
    if differing := len(everywhere) - len(kept):
        notes.append(f"{differing} problems left out, with other references, targets or digests")
    chosen = [
        SamplesFile(file.name, file.counts.of(np.array([of_file[name] for name in kept], dtype=np.int64)))
        for file, of_file in zip(files, places, strict=True)
    ]
    return Matched(chosen, notes)


def _refuse_missing(first: SamplesFile, other: SamplesFile) -> None:
    for here, there in ((first, other), (other, first)):
        known = set(there.counts.problem_ids)
        alone = [problem_id for problem_id in here.counts.problem_ids if problem_id not in known]
        if alone:
            count = f" ({len(alone)} such problems)" if len(alone) > 1 else ""
            raise DataError(
                f"problem {alone[0]!r} is in {here.name} but not in {there.name}{count}: "
                "files are compared problem by problem; --only-common compares the common ones"
            )


def _places(counts: Counts) -> dict[str, int]:
    return {problem_id: at for at, problem_id in enumerate(counts.problem_ids)}


def _identity(counts: Counts, at: int) -> tuple[tuple[str, str], ...]:
    return counts.identities[at] if counts.identities else ()
