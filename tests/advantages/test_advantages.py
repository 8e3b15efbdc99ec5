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

from ngrpo.advantages import (
    constant_advantages,
    dr_grpo_advantages,
    grpo_advantages,
    ngrpo_advantages,
    nsr_advantages,
    psr_advantages,
    rloo_advantages,
    w_reinforce_advantages,
)
from ngrpo.errors import ConfigError

Estimator = Callable[..., Tensor]

ESTIMATORS: dict[str, Estimator] = {
    "ngrpo": ngrpo_advantages,
    "ngrpo, 4 virtual": partial(ngrpo_advantages, num_virtual=4),
    "ngrpo, population": partial(ngrpo_advantages, std="population"),
    "ngrpo, all-wrong only": partial(ngrpo_advantages, calibrate="all_wrong"),
    "grpo": grpo_advantages,
    "grpo, population": partial(grpo_advantages, std="population"),
    "dr_grpo": dr_grpo_advantages,
    "rloo": rloo_advantages,
    "psr": psr_advantages,
    "nsr": nsr_advantages,
    "w_reinforce": w_reinforce_advantages,
    "constant": constant_advantages,
}
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS.keys())
quick = settings(max_examples=40, deadline=None)

unit_rewards = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]), min_size=1, max_size=12)


# Slow oracles: one group as a list of numbers, in the words of the formula.


def z_scores(rewards: list[float], virtual: list[float], std: str, eps: float) -> list[float]:
    joined = rewards + virtual
    if len(joined) < 2:
        return [0.0] * len(rewards)
    spread = statistics.stdev(joined) if std == "sample" else statistics.pstdev(joined)
    return [(r - statistics.fmean(joined)) / (spread + eps) for r in rewards]


def oracle(name: str, rewards: list[float]) -> list[float]:
    mean = statistics.fmean(rewards)
    all_wrong = max(rewards) < 1.0
    plain = z_scores(rewards, [], "sample", 1e-6)
    return {
        "ngrpo": lambda: z_scores(rewards, [1.0], "sample", 1e-6),
        "ngrpo, 4 virtual": lambda: z_scores(rewards, [1.0] * 4, "sample", 1e-6),
        "ngrpo, population": lambda: z_scores(rewards, [1.0], "population", 1e-6),
        "ngrpo, all-wrong only": lambda: z_scores(rewards, [1.0] * all_wrong, "sample", 1e-6),
        "grpo": lambda: plain,
        "grpo, population": lambda: z_scores(rewards, [], "population", 1e-6),
        "dr_grpo": lambda: [r - mean for r in rewards],
        "rloo": lambda: [
            r - statistics.fmean(rewards[:i] + rewards[i + 1 :]) if len(rewards) > 1 else 0.0
            for i, r in enumerate(rewards)
        ],
        "psr": lambda: [1.0 if r >= 1 else 0.0 for r in rewards],
        "nsr": lambda: [0.0 if r >= 1 else -1.0 for r in rewards],
        "w_reinforce": lambda: [0.1 if r >= 1 else -1.0 for r in rewards],
        "constant": lambda: [-1 / math.sqrt(len(rewards) + 1)] * len(rewards) if all_wrong else plain,
    }[name]()


def close(actual: Tensor, expected: list[list[float]], tolerance: float = 1e-5) -> None:
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ESTIMATORS)
@given(rewards=unit_rewards)
@quick
def test_agrees_with_the_slow_oracle(name: str, rewards: list[float]) -> None:
    close(ESTIMATORS[name](torch.tensor([rewards])), [oracle(name, rewards)])


@pytest.mark.parametrize("max_reward", [1.0, 0.1, 0.7, 3.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 512])
def test_all_correct_groups_get_exactly_zero(max_reward: float, dtype: torch.dtype, size: int) -> None:
    # 0.1 is the case in point: its float mean over 10 need not be 0.1, and its float32 is above the number 0.1.
    rewards = torch.full((2, size), max_reward, dtype=dtype)
    for eps in (0.0, 1e-6):
        for std in ("sample", "population"):
            assert (ngrpo_advantages(rewards, max_reward=max_reward, eps=eps, std=std) == 0).all()
            assert (grpo_advantages(rewards, eps=eps, std=std) == 0).all()
    assert (dr_grpo_advantages(rewards) == 0).all()
    assert (rloo_advantages(rewards) == 0).all()
    assert (constant_advantages(rewards, max_reward=max_reward) == 0).all()
    assert (nsr_advantages(rewards, max_reward=max_reward) == 0).all()


@given(size=st.integers(1, 512), num_virtual=st.integers(1, 8), reward=st.sampled_from([0.0, 0.1, 0.5]))
@quick
def test_all_wrong_groups_get_one_negative_number(size: int, num_virtual: int, reward: float) -> None:
    advantages = ngrpo_advantages(torch.full((1, size), reward), num_virtual=num_virtual)
    share = num_virtual / (size + num_virtual)
    bessel = math.sqrt((size + num_virtual - 1) / (size + num_virtual))
    assert advantages.unique().numel() == 1
    assert advantages[0, 0].item() == pytest.approx(-bessel * math.sqrt(share / (1 - share)), rel=1e-3)


@given(rewards=unit_rewards, num_virtual=st.integers(1, 5))
@quick
def test_real_and_virtual_advantages_sum_to_zero(rewards: list[float], num_virtual: int) -> None:
    real = torch.tensor([rewards], dtype=torch.float64)
    joined = torch.cat([real, torch.ones(1, num_virtual)], dim=1)
    advantages = ngrpo_advantages(real, num_virtual=num_virtual)
    with_virtual = grpo_advantages(joined)
    torch.testing.assert_close(advantages, with_virtual[:, : len(rewards)], rtol=0, atol=1e-9)
    assert advantages.sum().item() + with_virtual[:, len(rewards) :].sum().item() == pytest.approx(0, abs=1e-9)
    assert advantages.sum().item() <= 1e-9


@given(
    rewards=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=12),
    eps=st.sampled_from([0.0, 1e-6]),
)
@quick
def test_without_virtual_completions_it_is_grpo_to_the_bit(rewards: list[float], eps: float) -> None:
    table = torch.tensor([rewards])
    for std in ("sample", "population"):
        expected = grpo_advantages(table, std=std, eps=eps)
        for calibrate in ("all", "all_wrong"):
            actual = ngrpo_advantages(table, num_virtual=0, std=std, eps=eps, calibrate=calibrate)
            assert torch.equal(actual, expected)


def test_calibrating_all_wrong_groups_leaves_the_others_to_grpo_to_the_bit() -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.2], [0.0, 1.0, 0.3], [1.0, 1.0, 1.0]])
    advantages = ngrpo_advantages(rewards, calibrate="all_wrong")
    assert torch.equal(advantages[1:], grpo_advantages(rewards)[1:])
    assert torch.equal(advantages[:1], ngrpo_advantages(rewards)[:1])


@pytest.mark.parametrize("estimator", [grpo_advantages, dr_grpo_advantages, rloo_advantages])
@given(
    rewards=st.lists(st.integers(0, 8), min_size=2, max_size=12),
    shift=st.integers(-100, 100),
    scale=st.sampled_from([0.5, 2.0, 16.0]),
)
@quick
def test_shift_changes_nothing_and_scale_what_the_formula_says(
    estimator: Estimator, rewards: list[int], shift: int, scale: float
) -> None:
    table = torch.tensor([rewards], dtype=torch.float64)
    advantages = estimator(table)
    torch.testing.assert_close(estimator(table + shift), advantages, rtol=0, atol=1e-9)
    expected = advantages if estimator is grpo_advantages else advantages * scale
    torch.testing.assert_close(estimator(table * scale), expected, rtol=0, atol=1e-5)


@given(rewards=unit_rewards, shift=st.integers(-100, 100), scale=st.sampled_from([0.5, 2.0, 16.0]))
@quick
def test_ngrpo_follows_its_max_reward(rewards: list[float], shift: int, scale: float) -> None:
    table = torch.tensor([rewards], dtype=torch.float64)
    moved = ngrpo_advantages(table * scale + shift, max_reward=scale + shift)
    torch.testing.assert_close(moved, ngrpo_advantages(table), rtol=0, atol=2e-5)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@given(
    size=st.sampled_from([1, 2, 3, 8, 64, 512]),
    seed=st.integers(0, 1000),
    exponents=st.tuples(st.integers(-45, 38), st.integers(-45, 38)),
)
@settings(max_examples=25, deadline=None)
def test_every_finite_reward_gives_a_finite_advantage(
    estimator: Estimator, dtype: torch.dtype, size: int, seed: int, exponents: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2, 3, size, generator=generator, dtype=torch.float64)
    top = torch.finfo(dtype).max
    raw = -uniform[0] * 10.0 ** exponents[0] - (uniform[1] > 0.5) * 10.0 ** exponents[1]
    rewards = raw.clamp(-top, 1.0).to(dtype)
    for eps in (0.0, 1e-6):
        takes_eps = "eps" in getattr(estimator, "func", estimator).__kwdefaults__
        advantages = estimator(rewards, eps=eps) if takes_eps else estimator(rewards)
        assert advantages.isfinite().all()
        assert advantages.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_extremes_of_a_dtype_stay_finite(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    rewards = torch.tensor([[limits.min, limits.max, 0.0, limits.tiny]] * 2, dtype=dtype)
    for estimator in (grpo_advantages, dr_grpo_advantages, rloo_advantages, constant_advantages):
        assert estimator(rewards).isfinite().all()
    advantages = ngrpo_advantages(rewards, max_reward=limits.max)
    assert advantages.isfinite().all()
    # The largest reward is the virtual one: distances are 2, 0, 1, 1 times it and the mean is at 4/5.
    expected = [(0.8 - d) / math.sqrt((1.44 + 0.64 * 2 + 0.04 * 2) / 4) for d in (2, 0, 1, 1)]
    close(advantages[:1], [expected], tolerance=1e-2)


def test_huge_rewards_keep_their_z_scores() -> None:
    close(grpo_advantages(torch.tensor([[0.0, 1e30]])), [[-math.sqrt(0.5), math.sqrt(0.5)]])


TABLE = {  # algorithms.md, section 1: c -> (GRPO A+, A-, NGRPO A+, A-, sum, m = 2: A+, A-, m = 4: A+, A-)
    0: (None, 0, None, -0.333, -2.67, None, -0.474, None, -0.677),
    1: (2.475, -0.354, 1.764, -0.504, -1.76, 1.449, -0.621, 1.133, -0.809),
    2: (1.620, -0.540, 1.333, -0.667, -1.33, 1.162, -0.775, 0.957, -0.957),
    4: (0.935, -0.935, 0.843, -1.054, -0.84, 0.775, -1.162, 0.677, -1.354),
    6: (0.540, -1.620, 0.504, -1.764, -0.50, 0.474, -1.897, 0.428, -2.141),
    7: (0.354, -2.475, 0.333, -2.667, -0.33, 0.316, -2.846, 0.289, -3.175),
    8: (0, None, 0, None, 0, 0, None, 0, None),
}


@pytest.mark.parametrize("correct", TABLE)
def test_published_table_for_groups_of_eight(correct: int) -> None:
    rewards = torch.tensor([[1.0] * correct + [0.0] * (8 - correct)])
    results = [grpo_advantages(rewards)] + [ngrpo_advantages(rewards, num_virtual=m) for m in (1, 2, 4)]
    row = TABLE[correct]
    expected = [row[0:2], row[2:4], row[5:7], row[7:9]]
    for result, (positive, negative) in zip(results, expected, strict=True):
        assert positive is None or result[0, 0].item() == pytest.approx(positive, abs=6e-4)
        assert negative is None or result[0, -1].item() == pytest.approx(negative, abs=6e-4)
    assert results[1].sum().item() == pytest.approx(row[4], abs=6e-3)


def test_groups_of_one() -> None:
    rewards = torch.tensor([[0.0], [1.0]])
    assert torch.equal(grpo_advantages(rewards), torch.zeros(2, 1))
    assert torch.equal(rloo_advantages(rewards), torch.zeros(2, 1))
    close(ngrpo_advantages(rewards), [[-math.sqrt(0.5)], [0.0]])


def test_a_group_with_one_valid_completion_compares_with_nothing() -> None:
    rewards, valid = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, False, False]])
    assert torch.equal(grpo_advantages(rewards, valid=valid), torch.zeros(1, 3))
    assert torch.equal(rloo_advantages(rewards, valid=valid), torch.zeros(1, 3))


@pytest.mark.parametrize("estimator", [ngrpo_advantages, constant_advantages])
@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 3.0])
def test_all_wrong_weight_scales_all_wrong_groups_alone(estimator: Estimator, weight: float) -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    plain, weighted = estimator(rewards), estimator(rewards, all_wrong_weight=weight)
    torch.testing.assert_close(weighted[:2], plain[:2] * weight)
    assert torch.equal(weighted[2:], plain[2:])
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ConfigError, match=f"all_wrong_weight is {wrong}; allowed are numbers of at least 0"):
            estimator(rewards, all_wrong_weight=wrong)


def test_std_eps_and_num_virtual_each_change_the_result() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    variants = [{}, {"std": "population"}, {"eps": 0.1}, {"num_virtual": 2}, {"max_reward": 2.0}]
    results = [ngrpo_advantages(rewards, **variant) for variant in variants]  # type: ignore[arg-type]
    assert len({tuple(result[0].tolist()) for result in results}) == len(variants)


def test_weights_of_w_reinforce() -> None:
    rewards = torch.tensor([[0.0, 1.0]])
    close(w_reinforce_advantages(rewards, positive_weight=0.3, negative_weight=2.0), [[-2.0, 0.3]])
    zero = psr_advantages(rewards)[0, 0]
    assert math.copysign(1, zero.item()) == 1  # not -0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_virtual": -1}, "num_virtual is -1"),
        ({"num_virtual": 1.0}, "num_virtual is 1.0"),
        ({"num_virtual": True}, "num_virtual is True"),
        ({"std": "mad"}, "std is 'mad'"),
        ({"calibrate": "some"}, "calibrate is 'some'"),
        ({"eps": -1e-9}, "eps is -1e-09"),
        ({"eps": math.nan}, "eps is nan"),
        ({"max_reward": 0.5}, "max_reward is 0.5 but a reward is 1.0"),
        ({"max_reward": math.inf}, "max_reward is inf"),
        ({"max_reward": 1e39}, "max_reward is 1e"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ngrpo_advantages(torch.tensor([[0.0, 1.0]]), **arguments)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_a_reward_above_max_reward_is_allowed_where_it_cannot_mislead() -> None:
    rewards = torch.tensor([[0.0, 2.0]])
    assert torch.equal(ngrpo_advantages(rewards, num_virtual=0), grpo_advantages(rewards))
    ngrpo_advantages(rewards, valid=torch.tensor([[True, False]]))


@pytest.mark.parametrize("name", ["positive_weight", "negative_weight"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is -1"):
        w_reinforce_advantages(torch.tensor([[0.0, 1.0]]), **{name: -1.0})
