"""Findings about how a run goes on over its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from ngrpo.diagnosis.finding import Found
from ngrpo.diagnosis.log_rows import Log

LEAST_STEPS = 4
COLLAPSED, DRIFTED, HACKED = 0.2, 2.0, 0.1
NO_KL = 2e-7
"""Nats; with a ratio of 1 throughout, float32 rounding leaves up to 6e-8 (one update per step, the shipped model)."""


def ratio_never_leaves_one(log: Log) -> Iterator[Found]:
    """The policy never differs from the one that sampled while it is updated: clip and ratio do nothing."""
    logged = log.series("policy/approx_kl")
    moved = any(value > 0 for _, value in log.series("update/grad_norm"))
    if len(logged) >= 2 and moved and all(abs(value) < NO_KL for _, value in logged):
        text = f"in {len(logged)} steps the ratio is 1 throughout (KL to the sampling policy is 0): no clip can bind"
        evidence = (f"policy/approx_kl of steps {logged[0][0]} to {logged[-1][0]}: 0",)
        yield Found("ratio-never-leaves-one", "warning", 0.0, text, evidence)


def entropy_collapse(log: Log) -> Iterator[Found]:
    """The entropy of the policy falls to a small part of what it was."""
    logged = log.series("policy/entropy")
    if (ends := _ends(logged)) and ends[0] > 0 and ends[1] < COLLAPSED * ends[0]:
        text = f"entropy falls from {ends[0]:.3g} to {ends[1]:.3g} nats per token: the groups get alike"
        yield Found("entropy-collapse", "warning", ends[1] / ends[0], text, _steps(logged))


def length_drift(log: Log) -> Iterator[Found]:
    """Completions get twice as long, or half."""
    logged = log.series("completion/mean_tokens") or _lengths(log)
    if not (ends := _ends(logged)) or min(ends) <= 0:
        return
    ratio = ends[1] / ends[0]
    if ratio >= DRIFTED or ratio <= 1 / DRIFTED:
        text = f"mean length goes from {ends[0]:.0f} to {ends[1]:.0f}, {ratio:.1f} times"
        yield Found("length-drift", "warning", ratio, text, _steps(logged))


def reward_without_verdict(log: Log) -> Iterator[Found]:
    """The reward rises while a second grader, or the evaluation, sees no progress."""
    rewards = log.series("reward/mean") or _means(log, second=False)
    verdicts = sorted(log.verdicts.items()) or _means(log, second=True)
    first, second = _ends(rewards), _ends(verdicts, least=2)
    if not first or not second:
        return
    scale = max(abs(value) for _, value in rewards) or 1.0
    risen, verdict = (first[1] - first[0]) / scale, second[1] - second[0]
    if risen >= HACKED and verdict <= 0.0:
        text = f"the reward goes from {first[0]:.3g} to {first[1]:.3g}, "
        text += f"the second verdict from {second[0]:.3g} to {second[1]:.3g}"
        yield Found("reward-without-verdict", "warning", risen, text, (*_steps(rewards), *_steps(verdicts)))


def _ends(logged: Sequence[tuple[int, float]], least: int = LEAST_STEPS) -> tuple[float, float] | None:
    """Returns the means of the first and the last quarter of a series that is long enough."""
    if len(logged) < least:
        return None
    quarter = max(1, len(logged) // 4)
    values = [value for _, value in logged]
    return fmean(values[:quarter]), fmean(values[-quarter:])


def _steps(logged: Sequence[tuple[int, float]]) -> tuple[str, ...]:
    return tuple(f"step {step}: {value:.4g}" for step, value in (logged[0], logged[-1]))


def _lengths(log: Log) -> list[tuple[int, float]]:
    counted: dict[int, list[int]] = {}
    for row in log.rows:
        length = row.num_tokens if row.num_tokens is not None else len(row.completion or "")
        counted.setdefault(row.step, []).append(length)
    return [(step, fmean(lengths)) for step, lengths in sorted(counted.items())]


def _means(log: Log, *, second: bool) -> list[tuple[int, float]]:
    counted: dict[int, list[float]] = {}
    for row in log.rows:
        value = row.second if second else row.reward
        if value is not None:
            counted.setdefault(row.step, []).append(value)
    return [(step, fmean(values)) for step, values in sorted(counted.items())]
