from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.gae import explained_variance, gae_advantages, token_rewards


def oracle(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition as a double sum: A_t = sum over l of (gamma lam)^l delta_{t+l}."""
    after = [*values, 0.0][1:]
    deltas = [r + gamma * nxt - v for r, nxt, v in zip(rewards, after, values, strict=True)]
    steps = range(len(deltas))
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in steps if k >= t) for t in steps]


def case(seed: int, batch: int = 3, length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, batch, length, generator=generator, dtype=torch.float64)
    return rewards, values, torch.rand(batch, length, generator=generator) > 0.4


@given(
    seed=st.integers(0, 1000),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_slow_oracle_on_the_tokens_of_each_completion(seed: int, gamma: float, lam: float) -> None:
    rewards, values, mask = case(seed)
    gae = gae_advantages(rewards, values, mask, gamma=gamma, lam=lam, whiten=False)
    for row in range(len(mask)):
        # Gaps included: a completion is the sequence of its tokens, whatever stands between them.
        kept = mask[row]
        expected = oracle(rewards[row][kept].tolist(), values[row][kept].tolist(), gamma, lam)
        torch.testing.assert_close(gae.advantages[row][kept], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(gae.returns[mask], (gae.advantages + values)[mask])
    assert (gae.advantages[~mask] == 0).all()
    assert (gae.returns[~mask] == 0).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_whitening_is_a_z_score_over_the_tokens_of_the_batch(seed: int) -> None:
    rewards, values, mask = case(seed)
    mask[0, :2] = True
    raw, white = (gae_advantages(rewards, values, mask, whiten=whiten) for whiten in (False, True))
    tokens = raw.advantages[mask].tolist()
    mean, spread = statistics.fmean(tokens), math.sqrt(statistics.variance(tokens) + 1e-8)
    expected = torch.tensor([(x - mean) / spread for x in tokens], dtype=torch.float64)
    torch.testing.assert_close(white.advantages[mask], expected)
    assert (white.advantages[~mask] == 0).all()
    assert torch.equal(white.returns, raw.returns)


def test_what_stands_outside_the_completions_changes_nothing() -> None:
    rewards, values, mask = case(1)
    poisoned = gae_advantages(rewards.masked_fill(~mask, math.nan), values.masked_fill(~mask, math.inf), mask.double())
    clean = gae_advantages(rewards, values, mask)
    assert torch.equal(poisoned.advantages, clean.advantages)
    assert torch.equal(poisoned.returns, clean.returns)


def test_gamma_and_lam_of_one_give_reward_to_come_minus_value() -> None:
    values = torch.tensor([[0.3, -0.2, 0.5]])
    gae = gae_advantages(torch.tensor([[0.0, 0.0, 1.0]]), values, torch.ones(1, 3), whiten=False)
    torch.testing.assert_close(gae.advantages, 1 - values)
    torch.testing.assert_close(gae.returns, torch.ones(1, 3))


@pytest.mark.parametrize("tokens", [0, 1])
def test_whitening_needs_two_tokens(tokens: int) -> None:
    mask = torch.zeros(2, 3)
    mask[0, :tokens] = 1
    gae = gae_advantages(torch.ones(2, 3), torch.zeros(2, 3), mask)
    assert torch.equal(gae.advantages, torch.zeros(2, 3))
    assert gae.returns.sum() == tokens


def test_dtype_and_gradient() -> None:
    values = torch.zeros(1, 2, dtype=torch.bfloat16, requires_grad=True)
    gae = gae_advantages(torch.ones(1, 2, dtype=torch.bfloat16), values, torch.ones(1, 2))
    assert gae.returns.dtype == torch.float32
    assert not gae.returns.requires_grad


@pytest.mark.parametrize(
    ("shapes", "settings_", "message"),
    [
        (((1, 2), (1, 3), (1, 2)), {}, r"\[1, 2\], \[1, 3\] and \[1, 2\]"),
        (((2,), (2,), (2,)), {}, r"allowed is one shape \[B, T\]"),
        (((1, 2),) * 3, {"gamma": 1.5}, "gamma is 1.5"),
        (((1, 2),) * 3, {"lam": math.nan}, "lam is nan"),
    ],
)
def test_wrong_arguments_are_refused(
    shapes: tuple[tuple[int, ...], ...], settings_: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        gae_advantages(*(torch.zeros(shape) for shape in shapes), **settings_)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_outcome_stands_at_the_last_token_that_the_model_wrote() -> None:
    old = torch.tensor([[-1.0, -2.0, float("nan")], [-1.0, float("nan"), -1.0], [0.0, 0.0, 0.0]])
    ref = torch.tensor([[-2.0, -2.0, 0.0], [-1.5, float("inf"), -1.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    rewards = token_rewards(torch.tensor([1.0, 2.0, 3.0]), old, ref, mask, kl_coefficient=0.1)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 1.0, 0.0], [-0.05, 0.0, 2.0], [0.0, 0.0, 0.0]]))
    without = token_rewards(torch.tensor([1.0, 2.0, 3.0]), old, ref, mask, kl_coefficient=0.0)
    assert without.tolist() == [[0, 1, 0], [0, 0, 2], [0, 0, 0]]


@pytest.mark.parametrize("coefficient", [-0.1, float("nan"), float("inf")])
def test_a_kl_coefficient_out_of_range_is_refused(coefficient: float) -> None:
    one = torch.ones(1, 1)
    with pytest.raises(ConfigError, match="kl_coefficient is"):
        token_rewards(torch.ones(1), one, one, one, kl_coefficient=coefficient)


def test_token_rewards_of_shapes_that_do_not_fit_are_refused() -> None:
    one = torch.ones(2, 1)
    for arguments in ((torch.ones(1), one, one, one), (torch.ones(2), one, torch.ones(2, 2), one)):
        with pytest.raises(ConfigError, match="have shapes"):
            token_rewards(*arguments, kl_coefficient=0.1)


def test_explained_variance_at_its_edges() -> None:
    returns = torch.tensor([0.0, 1.0, 0.0, 1.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(returns, torch.full((4,), 7.0)) == 0.0  # a constant explains nothing, whatever it is
    assert explained_variance(returns, 1 - returns) == -3.0
    assert explained_variance(torch.ones(4), returns) == 0.0
    assert explained_variance(torch.empty(0), torch.empty(0)) == 0.0
    with pytest.raises(ConfigError, match="have shapes"):
        explained_variance(returns, returns[:2])
