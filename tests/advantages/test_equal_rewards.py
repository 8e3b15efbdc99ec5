from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.advantages import grpo_advantages, ngrpo_advantages, rl_zvp_advantages, sova_advantages
from ngrpo.errors import ConfigError

Estimator = Callable[..., Tensor]
both_weights = partial(sova_advantages, positive_weight=0.25, negative_weight=0.5)

ESTIMATORS: dict[str, Estimator] = {
    "sova": sova_advantages,
    "sova, both": both_weights,
}
quick = settings(max_examples=40, deadline=None)

group = st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3)
tables = st.lists(st.one_of(group, st.sampled_from([[0.0] * 3, [1.0] * 3])), min_size=1, max_size=6)


# Slow oracles, in the words of the formula: lists of groups in, lists of advantages out.


def z_scores(rewards: list[float], virtual: list[float], eps: float, *, population: bool = False) -> list[float]:
    joined = rewards + virtual
    if len(joined) < 2:
        return [0.0] * len(rewards)
    spread = statistics.pstdev(joined) if population else statistics.stdev(joined)
    return [(r - statistics.fmean(joined)) / (spread + eps) for r in rewards]


def slow_sova(groups: list[list[float]], positive: float, negative: float) -> list[list[float]]:
    result = []
    for rewards in groups:
        plain = z_scores(rewards, [], 1e-4)
        weight, anchor = 0.0, 0.0
        if max(rewards) < 1:
            weight, anchor = negative, 1.0
        elif min(rewards) >= 1:
            weight, anchor = positive, 0.75
        virtual = z_scores(rewards, [anchor], 1e-4)
        result.append([(1 - weight) * a + weight * b for a, b in zip(plain, virtual, strict=True)])
    return result


SLOW: dict[str, Callable[[list[list[float]]], list[list[float]]]] = {
    "sova": lambda groups: slow_sova(groups, 0.0625, 0.0),
    "sova, both": lambda groups: slow_sova(groups, 0.25, 0.5),
}


def close(actual: Tensor, expected: list[list[float]], tolerance: float = 1e-5) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ESTIMATORS)
@given(groups=tables)
@quick
def test_agrees_with_the_slow_oracle(name: str, groups: list[list[float]]) -> None:
    close(ESTIMATORS[name](torch.tensor(groups)), SLOW[name](groups))


@pytest.mark.parametrize("name", ESTIMATORS)
@given(groups=tables, missing=st.integers(0, 2))
@quick
def test_only_valid_completions_count(name: str, groups: list[list[float]], missing: int) -> None:
    """Of each group of 3 only the first completions are valid, and one more group has none at all."""
    width = 3 - missing
    garbage = [[*rewards[:width], *[math.nan] * missing] for rewards in groups] + [[math.nan] * 3]
    valid = torch.tensor([[True] * width + [False] * missing] * len(groups) + [[False] * 3])
    advantages = ESTIMATORS[name](torch.tensor(garbage), valid=valid)
    assert (advantages[~valid] == 0).all()
    close(advantages[:-1, :width], SLOW[name]([rewards[:width] for rewards in groups]))


@pytest.mark.parametrize("size", [1, 2, 8, 512])
def test_sova_in_homogeneous_groups_is_its_weight_times_ngrpos_number(size: int) -> None:
    rewards = torch.tensor([[0.0] * size, [1.0] * size])
    advantages = both_weights(rewards, eps=0.0)
    number = 1 / math.sqrt(size + 1)
    close(advantages, [[-0.5 * number] * size, [0.25 * number] * size])
    close(advantages[:1], (0.5 * ngrpo_advantages(rewards, eps=0.0))[:1].tolist())


def test_sova_by_hand_with_format_rewards() -> None:
    """The authors' rewards are accuracy + format, up to 2: all wrong but two well formatted, virtual reward 2."""
    rewards = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    virtual = [(r - 0.8) / (math.sqrt(0.7) + 1e-4) for r in (1, 1, 0, 0)]
    plain = [(r - 0.5) / (math.sqrt(1 / 3) + 1e-4) for r in (1, 1, 0, 0)]
    expected = [0.75 * a + 0.25 * b for a, b in zip(plain, virtual, strict=True)]
    close(sova_advantages(rewards, max_reward=2.0, negative_weight=0.25), [expected])


def test_sova_leaves_mixed_groups_to_grpo_to_the_bit() -> None:
    rewards = torch.tensor([[0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    assert torch.equal(both_weights(rewards), grpo_advantages(rewards, eps=1e-4))
    wrong = torch.tensor([[0.0, 0.2, 0.3]])
    assert torch.equal(sova_advantages(wrong), grpo_advantages(wrong, eps=1e-4))


# RL-ZVP: three groups of two completions, all-wrong, mixed, all-correct; the second completion is one token shorter.

REWARDS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
MASK = torch.tensor([[True] * 3, [True, True, False]]).expand(3, 2, 3)


def entropies(seed: int = 0) -> Tensor:
    drawn = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(seed)) * 3
    return torch.where(MASK, drawn, math.nan)


def slow_rl_zvp(rewards: Tensor, table: Tensor, mask: Tensor, alpha: float) -> list[list[list[float]]]:
    result = []
    for i, row in enumerate(rewards.tolist()):
        plain = z_scores(row, [], 1e-6)
        completions = []
        for g, reward in enumerate(row):
            peak = max(table[i, g][mask[i, g]].tolist(), default=0.0)
            tokens = []
            for t in range(mask.shape[2]):
                h = table[i, g, t].item()
                zero_variance = alpha * h if reward >= 1 else -alpha * (peak - h)
                value = zero_variance if len(set(row)) == 1 else plain[g]
                tokens.append(value if mask[i, g, t] else 0.0)
            completions.append(tokens)
        result.append(completions)
    return result


@given(seed=st.integers(0, 1000), alpha=st.sampled_from([0.0, 0.1, 1.0]))
@quick
def test_rl_zvp_agrees_with_the_slow_oracle(seed: int, alpha: float) -> None:
    expected = torch.tensor(slow_rl_zvp(REWARDS, entropies(seed), MASK, alpha))
    torch.testing.assert_close(rl_zvp_advantages(REWARDS, entropies(seed), MASK, alpha=alpha), expected)


def test_rl_zvp_spares_the_most_uncertain_token_of_a_failure_and_moves_it_most_in_a_success() -> None:
    table = entropies()
    advantages = rl_zvp_advantages(REWARDS, table, MASK)
    peak = table[0, 0].argmax()
    assert advantages[0, 0, peak] == 0
    assert (advantages[0, 0] <= 0).all()
    assert advantages[2, 0].argmax() == table[2, 0].argmax()
    assert torch.equal(advantages[1, 0, :1], grpo_advantages(REWARDS)[1, :1])


def test_rl_zvp_asks_for_equal_rewards_not_for_a_wrong_group() -> None:
    """An all-wrong group with partial rewards has variance: GRPO has a signal there."""
    rewards = torch.tensor([[0.0, 0.5]])
    advantages = rl_zvp_advantages(rewards, entropies()[:1], MASK[:1])
    expected = grpo_advantages(rewards)[..., None].expand(1, 2, 3).masked_fill(~MASK[:1], 0.0)
    assert torch.equal(advantages, expected)


def test_rl_zvp_counts_only_valid_completions() -> None:
    rewards = torch.tensor([[0.0, math.nan], [1.0, math.nan], [0.0, 1.0]])
    valid = torch.tensor([[True, False], [True, False], [False, False]])
    advantages = rl_zvp_advantages(rewards, entropies(), MASK, valid=valid)
    assert (advantages[~valid] == 0).all()
    assert (advantages[0, 0] <= 0).all()
    torch.testing.assert_close(advantages[1, 0], 0.1 * entropies()[1, 0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_rl_zvp_dtype_gradient_and_extremes(dtype: torch.dtype) -> None:
    table = torch.nan_to_num(entropies()).to(dtype).requires_grad_()
    advantages = rl_zvp_advantages(REWARDS, table, MASK, alpha=1e300)
    assert not advantages.requires_grad
    assert advantages.dtype == torch.promote_types(dtype, torch.float32)
    assert advantages.isfinite().all()
    huge = torch.tensor([[3e38, -3e38], [3e38, 3e38], [-3e38, -3e38]])
    assert rl_zvp_advantages(huge, table, MASK, max_reward=3e38).isfinite().all()
    assert rl_zvp_advantages(REWARDS, torch.zeros(3, 2, 0), torch.zeros(3, 2, 0)).shape == (3, 2, 0)
    assert rl_zvp_advantages(torch.zeros(0, 2), torch.zeros(0, 2, 4), torch.zeros(0, 2, 4)).shape == (0, 2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(sova_advantages, positive_weight=1.5), r"positive_weight is 1\.5"),
        (partial(sova_advantages, negative_weight=math.nan), "negative_weight is nan"),
        (partial(sova_advantages, eps=-1.0), "eps is -1"),
        (lambda rewards: rl_zvp_advantages(rewards, torch.zeros(2, 2), torch.zeros(2, 2)), r"shape \[2, 2\]"),
        (lambda rewards: rl_zvp_advantages(rewards, torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)), r"\[1, 2, 4\]"),
        (lambda rewards: rl_zvp_advantages(rewards, torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)), r"\[1, 2\]"),
        (
            lambda rewards: rl_zvp_advantages(rewards, torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), alpha=-1.0),
            "alpha is -1",
        ),
    ],
)
def test_wrong_arguments_are_refused(call: Estimator, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call(torch.tensor([[0.0, 1.0]]))
    assert "\n" not in str(caught.value)
    assert "allowed" in str(caught.value)
