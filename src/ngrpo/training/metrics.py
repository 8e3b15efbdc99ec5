"""The metrics of a step, under the names that docs/metrics.md explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngrpo.diagnostics import group_metrics
from ngrpo.methods import Method
from ngrpo.training.checkpoint import TrainerState
from ngrpo.training.collect import Collected, rewards_of


def step_metrics(
    collected: Collected, advantages: Tensor, learned: Mapping[str, float], state: TrainerState, method: Method
) -> dict[str, Any]:
    """Returns what happened in a step, times aside.

    Shares of groups and rewards are over everything that was sampled, before the filter; a rollout that the filter
    dropped counts as one without advantage.

    Args:
        collected: the groups of the step.
        advantages: [P, G] of the groups in the batch.
        learned: what the learner reports of its batch and its updates.
        state: the run's totals after the step.
        method: its max_reward decides which groups are all-wrong.
    """
    rewards, valid = rewards_of(collected.sampled)
    of_all = torch.zeros_like(rewards)
    if collected.batch:
        of_all[torch.tensor(collected.in_batch, dtype=torch.bool)] = advantages.to(of_all.dtype)
    completions = [rollout.completion for group in collected.sampled for rollout in group.rollouts]
    lengths = np.array([len(completion.tokens) for completion in completions])
    logprob_sum = sum(float(completion.logprobs.sum(dtype="float64")) for completion in completions)
    return {
        **group_metrics(rewards, of_all, max_reward=method.max_reward, valid=valid),
        # Minus the logprob of what was drawn has the entropy as its mean, over every token that was sampled.
        "policy/entropy": -logprob_sum / int(lengths.sum()),
        "completion/mean_tokens": float(lengths.mean()),
        "completion/truncated": float(np.mean([c.finish_reason == "length" for c in completions])),
        "completion/tokens": int(lengths.sum()),
        "batch/groups": len(collected.batch),
        "batch/sampled_groups": len(collected.sampled),
        "batch/rounds": collected.rounds,
        "batch/overlong_problems": collected.overlong,
        "total/rollouts_sampled": state.rollouts_sampled,
        "total/rollouts_trained": state.rollouts_trained,
        "total/updates": state.updates,
        **learned,
    }
