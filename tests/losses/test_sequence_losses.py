from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.errors import ConfigError
from ngrpo.losses import PolicyLoss, cispo_policy_loss, clipped_policy_loss, gspo_policy_loss

Loss = Callable[..., PolicyLoss]
LOSSES: dict[str, Loss] = {"gspo": gspo_policy_loss, "cispo": cispo_policy_loss}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
every_aggregate = pytest.mark.parametrize("aggregate", ["token_mean", "sequence_mean", "constant"])
CLIPS = {"clip_low": 0.1, "clip_high": 0.15}
seeds = given(seed=st.integers(0, 10_000))
quick = settings(max_examples=25, deadline=None)


class Case:
    """Random [B, T] inputs in float64, with gaps and one sequence without any completion token."""

    def __init__(self, seed: int, batch: int = 6, length: int = 5) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.mask = torch.rand(batch, length, generator=generator) > 0.3
        self.mask[0], self.mask[1, 0] = False, True
        self.old = normal(batch, length) - 2
        self.new = (self.old + 0.3 * normal(batch, length)).requires_grad_()
        self.advantages = normal(batch)

    def loss(self, loss: Loss, rows: slice = slice(None), **settings_: Any) -> PolicyLoss:
        tensors = (self.new[rows], self.old[rows], self.advantages[rows], self.mask[rows])
        return loss(*tensors, **(CLIPS | settings_))

    def gradient(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self.new)
        return gradient

    def tokens(self, row: int) -> list[int]:
        return self.mask[row].nonzero()[:, 0].tolist()

    def log_ratio(self, row: int, token: int) -> float:
        return self.new[row, token].item() - self.old[row, token].item()


def token_weights(name: str, case: Case) -> dict[tuple[int, int], float]:
    """By hand: what each token's grad logprob is multiplied with in the sum of token losses."""
    weights = {}
    for i in range(len(case.mask)):
        tokens, a = case.tokens(i), case.advantages[i].item()
        ratios = {t: math.exp(case.log_ratio(i, t)) for t in tokens}
        if name == "gspo" and tokens:
            ratios = dict.fromkeys(tokens, math.exp(sum(case.log_ratio(i, t) for t in tokens) / len(tokens)))
        for t in tokens:
            out_of_bounds = ratios[t] < 0.9 if a < 0 else ratios[t] > 1.15
            if name == "gspo":
                weights[i, t] = 0.0 if out_of_bounds else -a * ratios[t]
            else:
                weights[i, t] = -a * min(max(ratios[t], 0.9), 1.15)
    return weights


def denominators(case: Case, aggregate: str) -> Callable[[int], float]:
    lengths = case.mask.sum(dim=1).tolist()
    if aggregate == "token_mean":
        return lambda row: sum(lengths)
    if aggregate == "sequence_mean":
        return lambda row: lengths[row] * sum(length > 0 for length in lengths)
    return lambda row: 40.0


@pytest.mark.parametrize("name", LOSSES)
@every_aggregate
@seeds
@quick
def test_the_gradient_agrees_with_the_slow_oracle(name: str, aggregate: Aggregate, seed: int) -> None:
    case = Case(seed)
    out = case.loss(LOSSES[name], aggregate=aggregate, denominator=40.0 if aggregate == "constant" else None)
    expected, of_row = torch.zeros_like(case.old), denominators(case, aggregate)
    for (i, t), weight in token_weights(name, case).items():
        expected[i, t] = weight / of_row(i)
    torch.testing.assert_close(case.gradient(out.loss), expected, rtol=1e-9, atol=1e-12)


@every_aggregate
@seeds
@quick
def test_gspos_value_agrees_with_the_slow_oracle(aggregate: Aggregate, seed: int) -> None:
    case = Case(seed)
    expected, of_row = 0.0, denominators(case, aggregate)
    for i in range(len(case.mask)):
        tokens, a = case.tokens(i), case.advantages[i].item()
        if tokens:
            ratio = math.exp(sum(case.log_ratio(i, t) for t in tokens) / len(tokens))
            bounded = max(ratio, 0.9) if a < 0 else min(ratio, 1.15)
            expected += -a * bounded * len(tokens) / of_row(i)
    out = case.loss(gspo_policy_loss, aggregate=aggregate, denominator=40.0 if aggregate == "constant" else None)
    assert out.loss.item() == pytest.approx(expected, rel=1e-9)


@seeds
@quick
def test_gspos_gradient_is_that_of_the_sequence_ratio_itself(seed: int) -> None:
    """The paper's Eq. 5, differentiated directly: the mean over sequences of the clipped surrogate of s."""
    case = Case(seed)
    lengths = case.mask.sum(dim=1)
    s = ((case.new - case.old) * case.mask).sum(dim=1).div(lengths.clamp(min=1)).exp()
    surrogate = torch.minimum(case.advantages * s, case.advantages * s.clamp(0.9, 1.15))
    direct = case.gradient(-surrogate[lengths > 0].mean())
    out = case.loss(gspo_policy_loss)
    torch.testing.assert_close(case.gradient(out.loss), direct, rtol=1e-9, atol=1e-12)
    assert out.loss.item() == pytest.approx(-surrogate[lengths > 0].mean().item())


@seeds
@quick
def test_cispos_gradient_is_the_papers_objective(seed: int) -> None:
    """The paper's Eq. 4 with logprobs where this loss has their difference to the old ones."""
    case = Case(seed)
    weight = (case.new - case.old).exp().clamp(0.9, 1.15).detach()
    token_losses = -weight * case.advantages[:, None] * case.new
    direct = case.gradient(token_losses[case.mask].mean())
    torch.testing.assert_close(case.gradient(case.loss(cispo_policy_loss).loss), direct, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@seeds
@quick
def test_fractions_and_kl_count_completion_tokens(name: str, seed: int) -> None:
    case = Case(seed)
    out = case.loss(LOSSES[name])
    low = high = count = 0
    moved = 0.0
    for i in range(len(case.mask)):
        tokens, a = case.tokens(i), case.advantages[i].item()
        mean = sum(case.log_ratio(i, t) for t in tokens) / max(len(tokens), 1)
        for t in tokens:
            ratio = math.exp(mean if name == "gspo" else case.log_ratio(i, t))
            low += ratio < 0.9 and (name == "cispo" or a < 0)
            high += ratio > 1.15 and (name == "cispo" or a > 0)
            moved -= case.log_ratio(i, t)
            count += 1
    assert out.clip_low_fraction.item() == pytest.approx(low / count)
    assert out.clip_high_fraction.item() == pytest.approx(high / count)
    assert out.approx_kl.item() == pytest.approx(moved / count)
    assert not out.clip_low_fraction.requires_grad


@every_loss
@seeds
@quick
def test_where_nothing_has_moved_all_losses_have_the_gradient_of_the_clipped_one(loss: Loss, seed: int) -> None:
    case = Case(seed)
    case.new = case.old.clone().requires_grad_()
    expected = case.gradient(case.loss(clipped_policy_loss, aggregate="token_mean").loss)
    torch.testing.assert_close(case.gradient(case.loss(loss, aggregate="token_mean").loss), expected)


@every_loss
@every_aggregate
@seeds
@quick
def test_micro_batches_sum_to_the_whole(loss: Loss, aggregate: Aggregate, seed: int) -> None:
    case = Case(seed)
    whole = case.loss(loss, aggregate=aggregate, denominator=17.0)
    parts = [case.loss(loss, rows, aggregate=aggregate, denominator=17.0) for rows in (slice(0, 2), slice(2, 6))]
    assert sum(part.loss.item() for part in parts) == pytest.approx(whole.loss.item(), rel=1e-9, abs=1e-12)
    gradient = sum(case.gradient(part.loss) for part in parts)
    torch.testing.assert_close(gradient, case.gradient(whole.loss), rtol=1e-9, atol=1e-12)


@every_loss
@seeds
@quick
def test_one_advantage_per_token_may_be_given(loss: Loss, seed: int) -> None:
    case = Case(seed)
    once = case.gradient(case.loss(loss).loss)
    case.advantages = case.advantages[:, None].expand(case.mask.shape)
    torch.testing.assert_close(case.gradient(case.loss(loss).loss), once)


@every_loss
def test_masked_tokens_change_nothing_not_even_nan(loss: Loss) -> None:
    new = torch.tensor([[-1.0, math.nan, -math.inf]], requires_grad=True)
    old = torch.tensor([[-1.1, -1.0, math.nan]])
    out = loss(new, old, torch.tensor([[2.0, math.nan, 1.0]]), torch.tensor([[1, 0, 0]]), clip_low=0.2, clip_high=0.2)
    (gradient,) = torch.autograd.grad(out.loss, new)
    assert out.loss.isfinite()
    assert gradient[0, 0] != 0
    assert torch.equal(gradient[0, 1:], torch.zeros(2))


@every_loss
def test_without_any_completion_token_the_loss_is_zero_and_attached(loss: Loss) -> None:
    new = torch.randn(2, 3, requires_grad=True)
    out = loss(new, torch.randn(2, 3), torch.ones(2), torch.zeros(2, 3), **CLIPS)
    out.loss.backward()
    assert out.loss.item() == 0
    assert new.grad is not None
    assert (new.grad == 0).all()
    assert [out.clip_low_fraction.item(), out.clip_high_fraction.item(), out.approx_kl.item()] == [0, 0, 0]


@every_loss
@pytest.mark.parametrize("gap", [1e4, -1e4, math.inf, -math.inf])
def test_far_policies_stay_finite(loss: Loss, gap: float) -> None:
    new = torch.tensor([[gap, -1.0]], requires_grad=True)
    for advantage in (1.0, 0.0, -1.0):
        out = loss(new, torch.tensor([[-1.0, -1.0]]), torch.tensor([advantage]), torch.ones(1, 2), **CLIPS)
        (gradient,) = torch.autograd.grad(out.loss, new)
        assert out.loss.isfinite()
        assert gradient.isfinite().all()


@every_loss
def test_half_precision_is_raised_and_only_logprobs_get_a_gradient(loss: Loss) -> None:
    new, old = (torch.full((1, 2), x, dtype=torch.bfloat16, requires_grad=True) for x in (-1.0, -1.5))
    advantages = torch.tensor([1.0], dtype=torch.bfloat16, requires_grad=True)
    out = loss(new, old, advantages, torch.ones(1, 2), clip_low=1.0, clip_high=9.0)
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert new.grad is not None
    assert old.grad is None
    assert advantages.grad is None
    assert -new.grad.sum().item() == pytest.approx(math.exp(0.5), rel=1e-2)


def test_a_clipped_completion_has_no_gradient_under_gspo_and_a_bounded_one_under_cispo() -> None:
    new = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    old = torch.tensor([[-2.0, -1.2]])
    gradients = []
    for loss in LOSSES.values():
        out = loss(new, old, torch.tensor([1.0]), torch.ones(1, 2), clip_low=0.2, clip_high=0.2)
        gradients.append(torch.autograd.grad(out.loss, new)[0])
        assert out.clip_high_fraction.item() == 1
    assert torch.equal(gradients[0], torch.zeros(1, 2))
    torch.testing.assert_close(gradients[1], torch.tensor([[-0.6, -0.6]]))


@every_loss
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old_logprobs": torch.zeros(2, 4)}, r"old_logprobs \[2, 4\]"),
        ({"completion_mask": torch.ones(3, 2)}, r"completion_mask \[3, 2\]"),
        ({"advantages": torch.zeros(3)}, r"advantages have shape \[3\]"),
        ({"clip_low": -0.1}, r"clip_low is -0\.1"),
        ({"clip_high": math.nan}, "clip_high is nan"),
        ({"aggregate": "mean"}, "aggregate is 'mean'"),
        ({"aggregate": "constant"}, "'constant' needs a denominator"),
        ({"denominator": 0.0}, r"denominator is 0\.0"),
    ],
)
def test_wrong_arguments_are_refused(loss: Loss, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "logprobs": torch.zeros(2, 3),
        "old_logprobs": torch.zeros(2, 3),
        "advantages": torch.zeros(2),
        "completion_mask": torch.ones(2, 3),
    }
    with pytest.raises(ConfigError, match=message) as caught:
        loss(**(arguments | CLIPS | changes))
    assert "\n" not in str(caught.value)
