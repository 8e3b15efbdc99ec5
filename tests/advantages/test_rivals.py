from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.advantages import (
    asymre_advantages,
    corpo_advantages,
    dr_grpo_advantages,
    grpo_advantages,
    maxrl_advantages,
    nsr_advantages,
    pass_at_k_advantages,
    pkpo_advantages,
    reinforce_rej_advantages,
)
from ngrpo.errors import ConfigError

Estimator = Callable[..., Tensor]

ESTIMATORS: dict[str, Estimator] = {
    "corpo": corpo_advantages,
    "corpo, at 1": partial(corpo_advantages, min_correct_reward=1.0),
    "maxrl": maxrl_advantages,
    "asymre": asymre_advantages,
    "asymre, above": partial(asymre_advantages, baseline_shift=0.3),
    "reinforce_rej": reinforce_rej_advantages,
    "pass_at_1": partial(pass_at_k_advantages, k=1),
    "pass_at_2": partial(pass_at_k_advantages, k=2),
    "pass_at_4": pass_at_k_advantages,
    "pkpo of 2": partial(pkpo_advantages, k=2),
    "pkpo of 4": pkpo_advantages,
}
quick = settings(max_examples=40, deadline=None)

unit_rewards = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]), min_size=1, max_size=9)


# Slow oracles: one group as a list of numbers; where subsets are meant, every subset is made.


def subset_z_scores(rewards: list[float], k: int) -> list[float]:
    """The advantage of a subset is the z-score of 'holds a correct one' among all subsets; a completion's, the mean."""
    correct = [r >= 1 for r in rewards]
    if len(rewards) < k:
        return [0.0] * len(rewards)
    subsets = list(itertools.combinations(range(len(rewards)), k))
    solved = [float(any(correct[i] for i in subset)) for subset in subsets]
    spread = statistics.pstdev(solved)
    z = [(s - statistics.fmean(solved)) / (spread + 1e-6) for s in solved]
    return [statistics.fmean(v for v, s in zip(z, subsets, strict=True) if i in s) for i in range(len(rewards))]


def best_of_subsets(rewards: list[float], k: int) -> list[float]:
    if len(rewards) < k:
        return [0.0] * len(rewards)
    subsets = list(itertools.combinations(range(len(rewards)), k))
    result = []
    for i in range(len(rewards)):
        raises = [
            max(rewards[j] for j in subset) - max(rewards[j] for j in subset if j != i)
            for subset in subsets
            if i in subset
        ]
        result.append(sum(raises) / len(subsets))
    return result


def oracle(name: str, rewards: list[float]) -> list[float]:
    mean = statistics.fmean(rewards)
    mixed = min(rewards) < 1 <= max(rewards)
    return {
        "corpo": lambda: [r - max(0.5, mean) for r in rewards],
        "corpo, at 1": lambda: [r - max(1.0, mean) for r in rewards],
        "maxrl": lambda: [(r - mean) / (mean + 1e-6) if mean > 0 else 0.0 for r in rewards],
        "asymre": lambda: [r - (mean - 0.1) for r in rewards],
        "asymre, above": lambda: [r - (mean + 0.3) for r in rewards],
        "reinforce_rej": lambda: [(1.0 if r >= 1 else -1.0) * mixed for r in rewards],
        "pass_at_1": lambda: subset_z_scores(rewards, 1),
        "pass_at_2": lambda: subset_z_scores(rewards, 2),
        "pass_at_4": lambda: subset_z_scores(rewards, 4),
        "pkpo of 2": lambda: best_of_subsets(rewards, 2),
        "pkpo of 4": lambda: best_of_subsets(rewards, 4),
    }[name]()


def close(actual: Tensor, expected: list[list[float]], tolerance: float = 1e-5) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ESTIMATORS)
@given(rewards=unit_rewards)
@quick
def test_agrees_with_the_slow_oracle(name: str, rewards: list[float]) -> None:
    close(ESTIMATORS[name](torch.tensor([rewards])), [oracle(name, rewards)])


@pytest.mark.parametrize(
    ("name", "all_wrong", "all_correct"),
    [
        ("corpo", -0.5, 0),
        ("corpo, at 1", -1, 0),
        ("maxrl", 0, 0),
        ("asymre", 0.1, 0.1),
        ("asymre, above", -0.3, -0.3),
        ("reinforce_rej", 0, 0),
        ("pass_at_1", 0, 0),
        ("pass_at_2", 0, 0),
        ("pass_at_4", 0, 0),
        ("pkpo of 2", 0, 0),
        ("pkpo of 4", 0, 0),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 10, 512])
def test_homogeneous_groups_get_one_number(name: str, all_wrong: float, all_correct: float, size: int) -> None:
    advantages = ESTIMATORS[name](torch.tensor([[0.0] * size, [1.0] * size]))
    assert torch.equal(advantages, torch.tensor([[all_wrong] * size, [all_correct] * size], dtype=torch.float32))


@pytest.mark.parametrize("reward", [0.1, 0.7, 3.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_equal_rewards_are_exactly_zero_where_only_differences_count(reward: float, dtype: torch.dtype) -> None:
    rewards = torch.full((1, 10), reward, dtype=dtype)
    for advantages in (
        corpo_advantages(rewards, min_correct_reward=reward),
        maxrl_advantages(rewards, eps=0.0),
        pkpo_advantages(rewards),
        pass_at_k_advantages(rewards, max_reward=reward, eps=0.0),
        reinforce_rej_advantages(rewards, max_reward=reward),
    ):
        assert (advantages == 0).all()


def test_in_the_binary_case_corpo_at_one_is_nsr_and_above_half_it_is_dr_grpo() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    assert torch.equal(corpo_advantages(rewards, min_correct_reward=1.0), nsr_advantages(rewards))
    assert torch.equal(corpo_advantages(rewards)[1:], dr_grpo_advantages(rewards)[1:])


def test_corpo_never_reinforces_a_failed_attempt() -> None:
    """The example of the paper's summary: GRPO's mean baseline gives -0.7 the advantage +0.15."""
    rewards = torch.tensor([[-1.0, -0.8, -0.9, -0.7]])
    assert dr_grpo_advantages(rewards)[0, 3].item() == pytest.approx(0.15)
    close(corpo_advantages(rewards, min_correct_reward=0.0), [[-1.0, -0.8, -0.9, -0.7]])


def test_maxrl_weighs_a_lone_success_by_the_others() -> None:
    for size in (2, 8, 64):
        rewards = torch.zeros(1, size)
        rewards[0, 0] = 1.0
        advantages = maxrl_advantages(rewards, eps=0.0)
        assert advantages[0, 0].item() == pytest.approx(size - 1)
        assert advantages[0, 1].item() == pytest.approx(-1)
    assert torch.equal(maxrl_advantages(torch.tensor([[-1.0, 0.0], [-1.0, 1.0]])), torch.zeros(2, 2))


def test_asymre_without_shift_is_dr_grpo_to_the_bit() -> None:
    rewards = torch.tensor([[0.0, 0.3, 1.0], [0.0, 0.0, 0.0]])
    assert torch.equal(asymre_advantages(rewards, baseline_shift=0.0), dr_grpo_advantages(rewards))


@given(rewards=st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=12))
@quick
def test_pass_at_1_is_grpo_with_the_population_deviation(rewards: list[float]) -> None:
    table = torch.tensor([rewards], dtype=torch.float64)
    torch.testing.assert_close(
        pass_at_k_advantages(table, k=1), grpo_advantages(table, std="population"), rtol=1e-9, atol=1e-12
    )


def test_pass_at_k_by_hand() -> None:
    """N = 4, one correct, k = 2: 3 of 6 subsets fail; a wrong one is in 3 subsets, 2 of which fail."""
    advantages = pass_at_k_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), k=2, eps=0.0)
    close(advantages, [[0.5 / 0.5] + [(0.5 - 2 / 3) / 0.5] * 3])


def test_pkpo_estimates_the_gradient_of_the_best_of_k() -> None:
    """Bernoulli(p), p = sigmoid(x): the mean of sum_i A_i dlogprob_i over all groups is d/dx of 1 - (1 - p)^k."""
    p, n, k = 0.3, 5, 3
    groups = list(itertools.product([0.0, 1.0], repeat=n))
    advantages = pkpo_advantages(torch.tensor(groups, dtype=torch.float64), k=k)
    total = 0.0
    for group, row in zip(groups, advantages.tolist(), strict=True):
        chance = math.prod(p if r else 1 - p for r in group)
        total += chance * sum(a * ((1 - p) if r else -p) for a, r in zip(row, group, strict=True))
    assert total == pytest.approx(k * (1 - p) ** (k - 1) * p * (1 - p))


def test_fewer_valid_completions_than_k_say_nothing() -> None:
    rewards, valid = torch.tensor([[0.0, 1.0, 1.0, 1.0]]), torch.tensor([[True, True, True, False]])
    for estimator in (pass_at_k_advantages, pkpo_advantages):
        assert estimator(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), k=2).abs().sum() > 0
        assert torch.equal(estimator(rewards, k=4, valid=valid), torch.zeros(1, 4))
        assert torch.equal(estimator(rewards, k=5), torch.zeros(1, 4))
    assert (pkpo_advantages(torch.tensor([[0.0, 0.5, 1.0]]), k=3, valid=None)[0, 2]).item() == pytest.approx(0.5)


@given(
    rewards=st.lists(st.integers(0, 8), min_size=2, max_size=12),
    shift=st.integers(-100, 100),
    scale=st.sampled_from([0.5, 2.0, 16.0]),
)
@quick
def test_pkpo_shifts_and_scales_like_a_difference(rewards: list[int], shift: int, scale: float) -> None:
    table = torch.tensor([rewards], dtype=torch.float64)
    moved = pkpo_advantages(table * scale + shift, k=2)
    torch.testing.assert_close(moved, pkpo_advantages(table, k=2) * scale, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(corpo_advantages, min_correct_reward=math.nan), "min_correct_reward is nan"),
        (partial(asymre_advantages, baseline_shift=math.inf), "baseline_shift is inf"),
        (partial(maxrl_advantages, eps=-1.0), "eps is -1.0"),
        (partial(pass_at_k_advantages, eps=math.nan), "eps is nan"),
        (partial(pass_at_k_advantages, k=0), "k is 0; allowed is an integer of at least 1"),
        (partial(pass_at_k_advantages, k=2.0), r"k is 2\.0"),
        (partial(pkpo_advantages, k=1), "k is 1; allowed is an integer of at least 2"),
        (partial(pkpo_advantages, k=True), "k is True"),
    ],
)
def test_wrong_arguments_are_refused(call: Estimator, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call(torch.tensor([[0.0, 1.0]]))
    assert "\n" not in str(caught.value)
