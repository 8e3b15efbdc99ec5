"""The state of a run, the metrics of a step, the lines of its rollouts, and why it has fewer groups than asked for.

The names of metrics are those of docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngrpo.config import Config
from ngrpo.diagnostics import group_metrics
from ngrpo.filters import group_kinds
from ngrpo.methods import Method
from ngrpo.training.collect import Collected, GradedGroups


@dataclass(slots=True)
class TrainerState:
    """Where a run stands after a step.

    `cursor` counts the problems taken from the seeded order; the totals count since the start of the run.
    `evaluations_due` is 1 when the last step ended a part of the run after which it is evaluated.
    """

    step: int = 0
    cursor: int = 0
    rollouts_sampled: int = 0
    rollouts_trained: int = 0
    updates: int = 0
    empty_steps: int = 0
    tokens_sampled: int = 0
    evaluations_due: int = 0

    def advance(self, step: int, *, sampled: int, tokens: int, trained: int, updates: int) -> None:
        """Counts a step that is over: rollouts and tokens sampled, rollouts that entered the batch, and updates."""
        self.step = step
        self.rollouts_sampled += sampled
        self.tokens_sampled += tokens
        self.rollouts_trained += trained
        self.updates += updates

    def totals(self) -> dict[str, int]:
        """Returns the totals as metrics."""
        return {
            "total/rollouts_sampled": self.rollouts_sampled,
            "total/tokens_sampled": self.tokens_sampled,
            "total/rollouts_trained": self.rollouts_trained,
            "total/updates": self.updates,
        }


def step_metrics(collected: Collected, advantages: Tensor, method: Method) -> dict[str, Any]:
    """Returns what was sampled in a step and what advantages it got; the updates and times are not in it.

    Shares of groups and rewards are over everything that was sampled, before the filter; a rollout that the filter
    dropped counts as one without advantage.

    Args:
        collected: the groups of the step.
        advantages: [P, G] of the groups in the batch.
        method: its max_reward decides which groups are all-wrong.
    """
    sampled = collected.sampled
    of_all = torch.zeros_like(sampled.rewards)
    of_all[collected.in_batch] = advantages.to(of_all.dtype)
    completions = list(sampled.completions())
    lengths = sampled.num_tokens.numpy().ravel()
    logprob_sum = sum(float(completion.logprobs.sum(dtype="float64")) for completion in completions)
    return {
        **group_metrics(sampled.rewards, of_all, max_reward=method.max_reward, valid=sampled.valid),
        **_answers_of_all_wrong(sampled, method.max_reward),
        # Minus the logprob of what was sampled has the entropy as its mean, over every token that was sampled.
        "policy/entropy": -logprob_sum / max(1, int(lengths.sum())),
        "completion/mean_tokens": float(lengths.mean()),
        "completion/truncated": float(np.mean([c.finish_reason == "length" for c in completions])),
        "completion/tokens": int(lengths.sum()),
        "batch/groups": len(collected.batch),
        "batch/sampled_groups": len(sampled),
        "batch/rounds": collected.rounds,
        "batch/overlong_problems": collected.overlong,
    }


def _answers_of_all_wrong(sampled: GradedGroups, max_reward: float) -> dict[str, float]:
    """Returns which share of all groups is all-wrong with G different answers, and which with one answer G times.

    Opposite failures: the model searches without finding, or it no longer searches. Without an answer, the completion's
    text counts.
    """
    all_wrong = group_kinds(sampled.rewards, max_reward=max_reward, valid=sampled.valid).all_wrong
    distinct = same = 0
    for group in (group for group, wrong in zip(sampled.groups, all_wrong.tolist(), strict=True) if wrong):
        answers = {rollout.grade.answer or rollout.completion.text for rollout in group.rollouts}
        distinct += len(answers) == len(group.rollouts)
        same += len(answers) == 1
    total = max(1, len(sampled))
    return {"group/all_wrong_distinct": distinct / total, "group/all_wrong_same": same / total}


def rollout_lines(step: int, collected: Collected, advantages: Tensor) -> list[dict[str, Any]]:
    """Returns the line of rollouts.jsonl of each sampled completion; `advantage` is null where its group was dropped.

    The prompt is on the first line of each group alone.

    Args:
        step: the step.
        collected: its groups.
        advantages: [P, G] of the groups in the batch.
    """
    of_batch = iter(advantages.tolist())
    lines = []
    for group, in_batch in zip(collected.sampled.groups, collected.in_batch.tolist(), strict=True):
        row = next(of_batch) if in_batch else [None] * len(group.rollouts)
        for rollout, advantage in zip(group.rollouts, row, strict=True):
            lines.append(
                {
                    "step": step,
                    "problem_id": group.problem.id,
                    "sample": rollout.sample,
                    **({"prompt": group.prompt} if rollout is group.rollouts[0] else {}),
                    "completion": rollout.completion.text,
                    "answer": rollout.grade.answer,
                    "reference": group.problem.reference,
                    "status": rollout.grade.status,
                    "reward": rollout.grade.reward,
                    "advantage": advantage,
                    "num_tokens": len(rollout.completion.tokens),
                    "finish_reason": rollout.completion.finish_reason,
                }
            )
    return lines


def shortfalls(collected: Collected, config: Config, step: int) -> Iterator[tuple[str, str]]:
    """Yields each reason for which problems were left out or the batch is not full, as a key and a line.

    Args:
        collected: the groups of the step.
        config: its limits.
        step: counted from 1.
    """
    sampling, method = config.sampling, config.method
    wanted, batch = sampling.problems_per_step, len(collected.batch)
    if collected.overlong:
        yield (
            "overlong",
            f"step {step}: {collected.overlong} problems left out, their prompts are longer than "
            f"{sampling.max_prompt_tokens} tokens ([sampling] max_prompt_tokens)",
        )
    if batch == wanted or not (method.refill or collected.no_problem_left):
        return
    why = "no problem is left" if collected.no_problem_left else "[method] max_refill_factor is reached"
    yield (
        why,
        f"step {step}: {batch} of {wanted} groups after sampling {len(collected.sampled)} problems: filter "
        f"'{method.filter}' dropped the others, and {why}",
    )
