"""What happened in the groups of a step, in numbers: kinds of group, advantage mass, sources of the signal.

And what is to be expected of a problem: the weight that an estimator gives its gradient, by its success rate.
Shares lie between 0 and 1; a share of nothing (no group, no valid completion, no advantage) is 0, so that
every number here can be written as JSON. The clip fractions by side are in `ngrpo.losses.PolicyLoss`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.filters import correct_completions, graded_rewards, group_kinds


@dataclass(frozen=True, slots=True)
class GroupShares:
    """How a total splits over the kinds of group; the parts sum to 1, or are all 0 where the total is."""

    all_wrong: float
    all_correct: float
    mixed: float
    ungraded: float


@dataclass(frozen=True, slots=True)
class AdvantageMass:
    """Sum of the positive advantages, and the absolute value of the sum of the negative ones."""

    positive: float
    negative: float


def group_shares(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> GroupShares:
    """Returns the share of each kind of group among the P groups.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> group_shares(torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
        GroupShares(all_wrong=0.5, all_correct=0.0, mixed=0.5, ungraded=0.0)
    """
    weights = torch.ones(rewards.shape[:1], dtype=torch.float64)
    return _shares_by_kind(weights, rewards, max_reward, valid)


def advantage_share_by_kind(
    rewards: Tensor, advantages: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None
) -> GroupShares:
    """Returns which share of the summed absolute advantage comes from each kind of group.

    To first order that is each kind's part in the gradient, were all completions equally long and
    independent.

    Args:
        rewards: [P, G].
        advantages: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> rewards = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        >>> advantage_share_by_kind(rewards, torch.tensor([[-0.5, -0.5], [-1.5, 1.5]])).all_wrong
        0.25
    """
    kept = _valid_advantages(advantages, valid)
    _check_same_shape(rewards, advantages)
    return _shares_by_kind(kept.abs().sum(dim=1), rewards, max_reward, valid)


def advantage_mass(advantages: Tensor, valid: Tensor | None = None) -> AdvantageMass:
    """Returns the positive mass, sum of A[A > 0], and the negative mass, |sum of A[A < 0]|.

    Args:
        advantages: [P, G].
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: when `valid` has another shape or dtype.

    Examples:
        >>> advantage_mass(torch.tensor([[-0.5, -0.5, 2.0]]))
        AdvantageMass(positive=2.0, negative=1.0)

    References:
        FADE: https://arxiv.org/abs/2607.01490
    """
    kept = _valid_advantages(advantages, valid)
    return AdvantageMass(kept.clamp(min=0).sum().item(), kept.clamp(max=0).sum().abs().item())


def nonzero_advantage_share(advantages: Tensor, valid: Tensor | None = None) -> float:
    """Returns the share of all P * G completions that carry a gradient, those whose advantage is not 0.

    Args:
        advantages: [P, G].
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: when `valid` has another shape or dtype.

    Examples:
        >>> nonzero_advantage_share(torch.tensor([[0.0, 0.0], [-1.0, 1.0]]))
        0.5
    """
    return _mean(_valid_advantages(advantages, valid) != 0)


def expected_gradient_weight(correct: Tensor, wrong: Tensor, success_rates: Tensor) -> Tensor:
    """Returns f(p), what the expected gradient of a problem with success rate p is, in units of the gradient of p.

        f(p) = E[A+(K + 1) - A-(K)],    K ~ Binomial(G - 1, p)

    K counts the correct ones among the *other* completions of a group of G with rewards 0 and 1. A completion
    gets A+(K + 1) if it is correct too, else A-(K). On-policy and before any clip, the expectation of
    A times the gradient of its logprob is f(p) times the gradient of p. So f is all that an estimator
    changes to first order.

    Args:
        correct: [G], A+(K + 1): advantage of a correct completion of which K = 0 ... G - 1 others are correct.
        wrong: [G], A-(K): that of a wrong one among K correct others.
        success_rates: any shape, 0 to 1.

    Returns:
        f(p) in float64, of the shape of `success_rates`.

    Raises:
        ConfigError: for shapes that do not fit or a success rate outside 0 to 1.

    Examples:
        >>> correct, wrong = torch.tensor([1.0, 0.5]), torch.tensor([-0.5, -0.25])
        >>> expected_gradient_weight(correct, wrong, torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.5000, 1.1250, 0.7500], dtype=torch.float64)
    """
    if correct.ndim != 1 or correct.shape != wrong.shape or len(correct) == 0:
        raise ConfigError(f"advantages have shapes {list(correct.shape)} and {list(wrong.shape)}; allowed is [G] twice")
    rates = success_rates.double().cpu()
    if not bool(((rates >= 0) & (rates <= 1)).all()):
        raise ConfigError("a success rate lies outside 0 to 1")
    others = torch.tensor(float(len(correct) - 1), dtype=torch.float64)
    count = torch.arange(len(correct), dtype=torch.float64)
    ways = torch.lgamma(others + 1) - torch.lgamma(count + 1) - torch.lgamma(others - count + 1)
    rates = rates[..., None]
    # xlogy(0, 0) is 0: so p = 0 and p = 1 need no case of their own.
    chance = (ways + torch.xlogy(count, rates) + torch.special.xlog1py(others - count, -rates)).exp()
    weights: Tensor = (chance * (correct.double().cpu() - wrong.double().cpu())).sum(dim=-1)
    return weights


def group_metrics(
    rewards: Tensor, advantages: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None
) -> dict[str, float]:
    """Returns the metrics of a step that follow from its rewards and advantages alone, ready for JSON.

    `group/*` are the shares of the four kinds of group. `reward/mean` and `reward/correct` are the mean
    reward and the share of correct ones among the valid completions, `reward/ungraded` is the share of
    completions that are not valid. `advantage/positive_mass` and `negative_mass` are sums over the step,
    `advantage/nonzero` is the share of completions that carry a gradient, `advantage/from_*` that of the
    summed absolute advantage from a kind of group.

    Args:
        rewards: [P, G].
        advantages: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> group_metrics(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 2))["reward/mean"]
        0.25
    """
    shares = group_shares(rewards, max_reward=max_reward, valid=valid)
    sources = advantage_share_by_kind(rewards, advantages, max_reward=max_reward, valid=valid)
    mass = advantage_mass(advantages, valid)
    values, graded = graded_rewards(rewards, valid)
    correct = correct_completions(rewards, max_reward=max_reward, valid=valid).cpu()
    return {
        "group/all_wrong": shares.all_wrong,
        "group/all_correct": shares.all_correct,
        "group/mixed": shares.mixed,
        "group/ungraded": shares.ungraded,
        "reward/mean": _mean(values[graded]),
        "reward/correct": _mean(correct[graded]),
        "reward/ungraded": _mean(~graded),
        "advantage/positive_mass": mass.positive,
        "advantage/negative_mass": mass.negative,
        "advantage/nonzero": nonzero_advantage_share(advantages, valid),
        "advantage/from_all_wrong": sources.all_wrong,
        "advantage/from_all_correct": sources.all_correct,
        "advantage/from_mixed": sources.mixed,
    }


def _shares_by_kind(weights: Tensor, rewards: Tensor, max_reward: float, valid: Tensor | None) -> GroupShares:
    kinds = group_kinds(rewards, max_reward=max_reward, valid=valid)
    total = weights.sum().item() or 1.0
    parts = (kinds.all_wrong, kinds.all_correct, kinds.mixed, kinds.ungraded)
    return GroupShares(*(weights[part.cpu()].sum().item() / total for part in parts))


def _valid_advantages(advantages: Tensor, valid: Tensor | None) -> Tensor:
    """Returns the advantages in float64 on the CPU, 0 where not valid."""
    values, _ = graded_rewards(advantages, valid)
    return values


def _mean(values: Tensor) -> float:
    return values.double().mean().item() if values.numel() else 0.0


def _check_same_shape(rewards: Tensor, advantages: Tensor) -> None:
    if advantages.shape != rewards.shape:
        raise ConfigError(
            f"advantages have shape {list(advantages.shape)}; allowed is that of rewards, {list(rewards.shape)}"
        )
