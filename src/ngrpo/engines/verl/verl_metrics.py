"""verl's metrics of a step under our names, where they mean the same; docs/metrics.md says what each is.

What has no name of ours stays in verl's own file, RUN/verl/metrics.jsonl.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ngrpo.config import Config

OURS = {
    "actor/loss": "update/loss",
    "actor/grad_norm": "update/grad_norm",
    "actor/entropy_loss": "update/entropy",
    "actor/ppo_kl": "policy/approx_kl",
    "actor/kl_loss": "policy/ref_kl",
    "actor/reward_kl_penalty": "policy/ref_kl",
    "actor/clip_low_fraction": "clip/low_fraction",
    "actor/clip_high_fraction": "clip/high_fraction",
    "training/rollout_probs_diff_mean": "policy/sampler_gap_probability",
    "training/rollout_probs_diff_max": "policy/sampler_gap_probability_max",
    "rollout_corr/rollout_is_mean": "policy/importance_mean",
    "critic/vf_loss": "critic/loss",
    "critic/vf_explained_var": "critic/explained_variance",
    "critic/values/mean": "critic/mean_value",
    "critic/grad_norm": "critic/grad_norm",
    "timing_s/gen": "time/sample_seconds",
    "timing_s/update_actor": "time/update_seconds",
    "timing_s/step": "time/step_seconds",
}
"""verl's name -> ours."""


def updates_of(config: Config, groups: int) -> int:
    """Returns how many updates verl takes of a full batch or less: it fills a pass's last mini-batch with padding.

    Args:
        config: its [optimizer] and [sampling] tables count.
        groups: groups in the batch.
    """
    passes = config.optimizer.passes_per_step
    groups_per_update = config.sampling.problems_per_step // (config.optimizer.updates_per_step // passes)
    return passes * -(-groups // groups_per_update)


def learned_metrics(
    config: Config, told: Mapping[str, float | None], *, step: int, groups: int, rows: int, tokens: int
) -> dict[str, float]:
    """Returns our metrics of a step's updates and times.

    Args:
        config: see `updates_of`.
        told: verl's metrics of the step, None where one is not finite; empty when it was ended before it wrote them.
        step: the step.
        groups: groups in the batch.
        rows: completions in the batch.
        tokens: sampled in the step.
    """
    from ngrpo.training.optimizer import scheduled_lr  # brings torch

    values = {ours: told[theirs] for theirs, ours in OURS.items() if theirs in told}
    metrics = {name: math.nan if value is None else float(value) for name, value in values.items()}
    only_critic = bool(told) and "actor/loss" not in told  # PPO's warm-up
    passes = 0 if only_critic else config.optimizer.passes_per_step
    counts: dict[str, float] = {
        "update/count": 0 if only_critic else updates_of(config, groups),
        "update/rows": rows * passes,
    }
    counts["update/lr"] = scheduled_lr(
        config.optimizer, config.optimizer.lr, step
    )  # verl's own is that of the next step
    if seconds := metrics.get("time/step_seconds"):
        metrics["time/tokens_per_second"] = tokens / seconds
    return {**counts, **metrics}
