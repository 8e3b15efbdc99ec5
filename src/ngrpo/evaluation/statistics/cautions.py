"""What a reader of Pass@k must know before believing its digits, a line each."""

from __future__ import annotations

FEW_PROBLEMS = 100
FEW_CLUSTERS = 10
MANY_IDENTICAL = 0.5


def caution_notes(
    *,
    problems: int,
    samples_per_problem: int,
    largest_k: int,
    several_seeds: bool,
    clusters: int | None = None,
    identical: float | None = None,
) -> list[str]:
    """Returns the cautions that apply.

    Args:
        problems: over which the mean is.
        samples_per_problem: n, the smallest of any file.
        largest_k: that is shown.
        several_seeds: whether the intervals hold for other training seeds.
        clusters: of problems, where intervals are over clusters.
        identical: share of completions that repeat one of the same problem.

    Examples:
        >>> caution_notes(problems=500, samples_per_problem=64, largest_k=64, several_seeds=True)
        ['Pass@64 from 64 samples per problem is noisy: rely on k <= 32, or sample 128 per problem']
        >>> caution_notes(problems=500, samples_per_problem=64, largest_k=32, several_seeds=True)
        []
    """
    notes = []
    if 1 in (problems, clusters):
        notes.append(f"no intervals: they need at least two {'problems' if problems == 1 else 'clusters'}")
    elif clusters is not None and clusters < FEW_CLUSTERS:
        notes.append(f"only {clusters} clusters: the intervals are wide and approximate")
    if problems < FEW_PROBLEMS:
        notes.append(f"only {problems} problems: a few points of difference are within chance, {FEW_PROBLEMS} say more")
    if samples_per_problem < 2 * largest_k:
        reliable = f"rely on k <= {samples_per_problem // 2}, or " if samples_per_problem > 1 else ""
        plural = "s" if samples_per_problem > 1 else ""
        notes.append(
            f"Pass@{largest_k} from {samples_per_problem} sample{plural} per problem is noisy: "
            f"{reliable}sample {2 * largest_k} per problem"
        )
    if identical is not None and identical >= MANY_IDENTICAL:
        notes.append(
            f"{100 * identical:.0f} % of completions repeat another of the same problem: Pass@k counts them as "
            "independent samples"
        )
    if not several_seeds:
        notes.append(
            "one training seed: another seed alone moves small benchmarks by several points "
            "(Hochlehnert et al. 2025), which the intervals do not include"
        )
    return notes
