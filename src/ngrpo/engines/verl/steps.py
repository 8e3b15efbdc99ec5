"""A step that verl has sampled, graded and put into numbers by the functions of our own trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ngrpo.engines.verl.records import StepRecord
from ngrpo.errors import TrainingError
from ngrpo.methods import GroupMethod
from ngrpo.training.collect import Collected
from ngrpo.training.metrics import rollout_lines, step_metrics

if TYPE_CHECKING:
    from ngrpo.config import Config


def check_step(collected: Collected, step: int, config: Config, *, problems: int) -> None:
    """Checks that a step can be trained on.

    Args:
        collected: the groups that came back.
        step: the step, for the message.
        config: its filter, group size and [run] max_ungraded_share count.
        problems: how many problems were given to the sampler; a group of which nothing came back is as ungraded.

    Raises:
        TrainingError: when too much is ungraded, or every group was dropped.
    """
    total = problems * config.sampling.group_size
    missing = total - collected.rollouts_sampled
    ungraded = missing + int((~collected.sampled.valid).sum())
    if ungraded > config.run.max_ungraded_share * total:
        reason = "verl delivered no completion" if ungraded == missing else collected.sampled.ungradable()[0].reason
        raise TrainingError(
            f"step {step}: {ungraded} of {total} completions could not be graded ({reason or 'no reason given'}): the "
            "grader or the sampler is at fault, not the model (limit: [run] max_ungraded_share)"
        )
    if not len(collected.batch):
        raise TrainingError(
            f"step {step}: filter '{config.method.filter}' dropped every one of {len(collected.sampled)} groups"
        )


def step_record(collected: Collected, step: int, config: Config) -> StepRecord:
    """Returns what is to be told of a step: its metrics and rollouts, with the advantages where the rewards give them.

    PPO's come from verl's critic, which has not been asked yet: nothing is said of them.
    """
    groups = len(collected.batch)
    found = advantages_of(collected, config)
    advantages = torch.zeros(groups, config.sampling.group_size) if found is None else found
    metrics, lines = step_metrics(collected, advantages, config.method), rollout_lines(step, collected, advantages)
    if found is None:
        metrics = {name: value for name, value in metrics.items() if not name.startswith("advantage/")}
        lines = [{**line, "advantage": None} for line in lines]
    return StepRecord(
        metrics=metrics,
        rollouts_sampled=collected.rollouts_sampled,
        rollouts_trained=collected.rollouts_trained,
        rollouts=lines if config.run.keep_rollouts else [],
    )


def advantages_of(collected: Collected, config: Config) -> Tensor | None:
    """Returns the advantages [P, G] of the groups in the batch, 0 where a completion is ungraded; None of PPO.

    They are those that verl trains on: its estimator asks the same method, with the same rewards.
    """
    method = config.method
    if not isinstance(method, GroupMethod):
        return None
    batch = collected.batch
    if not len(batch):
        return torch.zeros_like(batch.rewards)
    shaped = method.shaped_rewards(batch.rewards, batch.num_tokens, config.sampling.max_completion_tokens)
    return method.advantages(shaped, batch.valid)
