"""What stops a run, a grader that fails or a trip-wire for one that teaches nothing any more, and what warns of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch

from ngrpo.config import Config
from ngrpo.diagnostics import group_shares
from ngrpo.errors import TrainingError, TrippedError
from ngrpo.methods import GroupMethod, Method
from ngrpo.training.collect import MAX_EMPTY_STEPS, Collected

WINDOW = 10
"""Steps in a row for which a reward or an entropy must be beyond its bound."""
LEAST_ENTROPY = 1e-4
"""Nats per token; below it the model repeats one completion."""
LARGEST_SHARE = 0.9
"""Of the entropy of uniformly random tokens, log of the vocabulary's size; above it the model writes noise."""

FIRST_STEPS = 5
"""Steps in which a warning may come; later the share is a result of training."""
HIGH_SHARE = 0.7
"""Share of all-wrong groups that is high: nobody measured where harm begins, between about 0.4 and 0.75."""
SEEN = "at 75-100 % all-wrong groups NGRPO took a 135M language model from Pass@1 14 to 1 and 3 in 20 steps, GRPO to 27"
"""What was seen in two runs with two seeds."""


class _Bound(NamedTuple):
    """A trip-wire on a metric: where it is `beyond`, and what to say."""

    metric: str
    beyond: Callable[[float], bool]
    text: str
    cure: str


class Tripwires:
    """Looks at what was collected, and at the metrics of each step.

    Args:
        config: the run's.
        history: the metrics of the steps that were taken before, oldest first.
        vocabulary_size: of the model.
    """

    def __init__(self, config: Config, history: Iterable[Mapping[str, Any]], vocabulary_size: int) -> None:
        self._config = config
        most = LARGEST_SHARE * math.log(max(2, vocabulary_size))
        bounds = {
            "reward_collapse": _Bound(
                "reward/mean", lambda value: value == 0.0, "the reward is 0", "lower [optimizer] lr"
            ),
            "entropy_collapse": _Bound(
                "policy/entropy",
                lambda value: value < LEAST_ENTROPY,
                f"the entropy is below {LEAST_ENTROPY:g} nats",
                "lower [optimizer] lr or raise [method] entropy_bonus",
            ),
            "entropy_explosion": _Bound(
                "policy/entropy",
                lambda value: value > most,
                f"the entropy is above {most:.2f} nats, {LARGEST_SHARE:.0%} of that of random tokens",
                "lower [optimizer] lr or [method] entropy_bonus",
            ),
        }
        self._bounds = {name: bound for name, bound in bounds.items() if name in config.run.tripwires}
        self._beyond = dict.fromkeys(self._bounds, 0)
        self._sound: dict[str, float] = {}
        for metrics in history:
            self._count(metrics)

    def tripped(self, step: int, metrics: Mapping[str, Any]) -> str | None:
        """Returns what to say when a metric was sound and has been beyond its bound for WINDOW steps in a row."""
        self._count(metrics)
        for name, bound in self._bounds.items():
            if self._beyond[name] >= WINDOW and name in self._sound:
                return (
                    f"step {step}: {bound.text} for {self._beyond[name]} steps in a row, after {self._sound[name]:.3g} "
                    f"in step {step - self._beyond[name]}: {bound.cure} and resume from an earlier checkpoint, or "
                    f"switch this check off by leaving '{name}' out of [run] tripwires"
                )
        return None

    def check_collected(self, collected: Collected, step: int) -> None:
        """Raises TrainingError when the grader could not grade too many completions."""
        ungraded = collected.sampled.ungradable()
        if len(ungraded) > self._config.run.max_ungraded_share * collected.rollouts_sampled:
            raise TrainingError(
                f"step {step}: {len(ungraded)} of {collected.rollouts_sampled} completions could not be graded "
                f"({ungraded[0].reason or 'no reason given'}): a fault of the grader, not of the "
                "model (limit: [run] max_ungraded_share)"
            )

    def check_empty_steps(self, empty_steps: int, collected: Collected) -> None:
        """Raises TrippedError after too many steps in a row without a group to train on."""
        if empty_steps < MAX_EMPTY_STEPS or "no_groups" not in self._config.run.tripwires:
            return
        method, last = self._config.method, collected.sampled
        shares = group_shares(last.rewards, max_reward=method.max_reward, valid=last.valid)
        raise TrippedError(
            f"{empty_steps} steps in a row had no group to train on: filter '{method.filter}' dropped every one; the "
            f"last were {shares.all_wrong:.0%} all-wrong, {shares.all_correct:.0%} all-correct, {shares.mixed:.0%} "
            f"mixed, {shares.ungraded:.0%} ungraded: change [method] filter, or leave 'no_groups' out of [run] "
            "tripwires"
        )

    def _count(self, metrics: Mapping[str, Any]) -> None:
        for name, bound in self._bounds.items():
            value = metrics.get(bound.metric)
            if not isinstance(value, int | float) or math.isnan(value):
                continue
            if bound.beyond(value):
                self._beyond[name] += 1
            else:
                self._beyond[name], self._sound[name] = 0, float(value)


def pushes_all_wrong_groups(method: Method, group_size: int) -> bool:
    """Returns whether a group without a correct completion enters the batch with negative advantages.

    >>> from ngrpo.methods import NGRPO, load_method
    >>> [pushes_all_wrong_groups(load_method({"name": name}), 8) for name in ("ngrpo", "psr_nsr", "grpo", "dapo")]
    [True, True, False, False]
    """
    if not isinstance(method, GroupMethod) or method.needs_entropies or method.filter in {"all", "all_incorrect"}:
        return False
    return bool((method.advantages(torch.zeros(1, group_size)) < 0).any())


def all_wrong_warning(method: Method, group_size: int, step: int, metrics: Mapping[str, Any]) -> str | None:
    """Returns the line that warns of a high share of all-wrong groups in one of the first steps, None without reason.

    Args:
        method: what is trained.
        group_size: completions of a group.
        step: counted from 1.
        metrics: of the step; `group/all_wrong` and `advantage/from_all_wrong` are read.
    """
    share = metrics["group/all_wrong"]
    if step > FIRST_STEPS or share < HIGH_SHARE or not pushes_all_wrong_groups(method, group_size):
        return None
    return (
        f"step {step}: {share:.0%} of the groups are all-wrong and {method.name} pushes all of them down "
        f"({metrics['advantage/from_all_wrong']:.0%} of all advantage): {SEEN}; easier problems ([task] levels, "
        "solve_rate), a lower [optimizer] lr or larger groups may help"
    )
