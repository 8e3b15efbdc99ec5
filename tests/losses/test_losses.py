from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.errors import ConfigError
from ngrpo.losses import aggregate_tokens, clipped_policy_loss, kl_divergence, loss_denominator, value_loss

CLIPS = {"clip_low": 0.16, "clip_high": 0.24}
seeds = given(seed=st.integers(0, 10_000))
quick = settings(max_examples=30, deadline=None)


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

    def loss(self, rows: slice = slice(None), **settings_: Any) -> Any:
        tensors = (self.new[rows], self.old[rows], self.advantages[rows], self.mask[rows])
        return clipped_policy_loss(*tensors, **(CLIPS | settings_))

    def gradient(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self.new)
        return gradient


def oracle_tokens(case: Case, clip_low: float, clip_high: float) -> list[list[float]]:
    """The token losses of each sequence, by cases instead of by max and clamp."""
    rows = []
    for i in range(len(case.mask)):
        row = []
        for t in range(case.mask.shape[1]):
            if case.mask[i, t]:
                advantage = case.advantages[i].item()
                ratio = math.exp(case.new[i, t].item() - case.old[i, t].item())
                bound = min(ratio, 1 + clip_high) if advantage > 0 else max(ratio, 1 - clip_low)
                row.append(-advantage * bound)
        rows.append(row)
    return rows


def oracle_aggregate(rows: list[list[float]], aggregate: str, constant: float) -> float:
    rows = [row for row in rows if row]
    if aggregate == "token_mean":
        return sum(map(sum, rows)) / sum(map(len, rows))
    if aggregate == "sequence_mean":
        return sum(sum(row) / len(row) for row in rows) / len(rows)
    return sum(map(sum, rows)) / constant


@pytest.mark.parametrize("aggregate", ["token_mean", "sequence_mean", "constant"])
@seeds
@quick
def test_agrees_with_the_slow_oracle(aggregate: Aggregate, seed: int) -> None:
    case = Case(seed)
    out = case.loss(aggregate=aggregate, denominator=40.0 if aggregate == "constant" else None)
    expected = oracle_aggregate(oracle_tokens(case, 0.16, 0.24), aggregate, 40.0)
    assert out.loss.item() == pytest.approx(expected, rel=1e-9)


@seeds
@quick
def test_fractions_and_kl_count_completion_tokens(seed: int) -> None:
    case = Case(seed)
    out = case.loss()
    low = high = count = 0
    moved = 0.0
    for i, t in case.mask.nonzero().tolist():
        ratio = math.exp(case.new[i, t].item() - case.old[i, t].item())
        low += case.advantages[i].item() < 0 and ratio < 0.84
        high += case.advantages[i].item() > 0 and ratio > 1.24
        moved += case.old[i, t].item() - case.new[i, t].item()
        count += 1
    assert out.clip_low_fraction.item() == pytest.approx(low / count)
    assert out.clip_high_fraction.item() == pytest.approx(high / count)
    assert out.approx_kl.item() == pytest.approx(moved / count)
    assert not out.clip_low_fraction.requires_grad
    assert not out.approx_kl.requires_grad


@seeds
@quick
def test_clipped_tokens_have_zero_gradient_and_the_others_the_policy_gradient(seed: int) -> None:
    case = Case(seed)
    gradient = case.gradient(case.loss().loss)
    ratio = (case.new - case.old).exp().detach()
    advantages = case.advantages[:, None].expand_as(ratio)
    clipped = ((advantages < 0) & (ratio < 0.84)) | ((advantages > 0) & (ratio > 1.24))
    expected = (-advantages * ratio / case.mask.sum()).masked_fill(clipped | ~case.mask, 0.0)
    assert (gradient[clipped | ~case.mask] == 0).all()
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("side", "sign"), [("clip_high", -1), ("clip_low", 1)])
@seeds
@quick
def test_each_bound_leaves_the_other_sign_alone(side: str, sign: int, seed: int) -> None:
    case = Case(seed)
    case.advantages = sign * case.advantages.abs()
    narrow, wide = (case.loss(**{side: clip}) for clip in (0.0, 5.0))
    assert torch.equal(narrow.loss, wide.loss)
    assert torch.equal(case.gradient(narrow.loss), case.gradient(wide.loss))
    assert getattr(narrow, f"{side}_fraction") == 0


@pytest.mark.parametrize("aggregate", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("cuts", [[2], [1, 3], [1, 2, 3, 4, 5]])
@seeds
@settings(max_examples=8, deadline=None)
def test_micro_batches_add_up_to_the_whole_update(aggregate: Aggregate, cuts: list[int], seed: int) -> None:
    case = Case(seed)
    given_ = 30.0 if aggregate == "constant" else None
    whole = case.loss(aggregate=aggregate, denominator=given_)
    denominator = given_ or loss_denominator(case.mask, aggregate)
    bounds = [0, *cuts, len(case.mask)]
    parts = [
        case.loss(slice(start, end), aggregate=aggregate, denominator=denominator) for start, end in pairwise(bounds)
    ]
    total = sum(part.loss for part in parts)
    torch.testing.assert_close(total, whole.loss, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(case.gradient(total), case.gradient(whole.loss), rtol=1e-6, atol=1e-9)


def test_the_mean_of_micro_batch_means_is_another_number() -> None:
    case = Case(3)
    means = [case.loss(slice(0, 2)).loss, case.loss(slice(2, 6)).loss]
    assert sum(mean.item() for mean in means) / 2 != pytest.approx(case.loss().loss.item(), rel=1e-3)


def test_rows_of_zero_advantage_can_be_left_out_when_the_denominator_is_kept() -> None:
    case = Case(4)
    case.advantages[3:] = 0
    denominator = loss_denominator(case.mask, "token_mean")
    whole, part = case.loss().loss, case.loss(slice(0, 3), denominator=denominator).loss
    torch.testing.assert_close(part, whole)
    torch.testing.assert_close(case.gradient(part), case.gradient(whole), rtol=1e-6, atol=1e-9)
    # Without it the same rows weigh more: this is the learning rate that dead groups scale.
    rescaled = case.loss(slice(0, 3)).loss * loss_denominator(case.mask[:3], "token_mean") / denominator
    torch.testing.assert_close(rescaled, whole)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e4])
def test_masked_tokens_change_nothing(poison: float) -> None:
    case = Case(5)
    clean = case.loss()
    clean_gradient = case.gradient(clean.loss)
    token_advantages = case.advantages[:, None].expand_as(case.mask).masked_fill(~case.mask, poison)
    case.old = case.old.masked_fill(~case.mask, -poison)
    case.new = case.new.detach().masked_fill(~case.mask, poison).requires_grad_()
    out = clipped_policy_loss(case.new, case.old, token_advantages, case.mask.long(), **CLIPS)
    for name in ("loss", "clip_low_fraction", "clip_high_fraction", "approx_kl"):
        assert torch.equal(getattr(out, name), getattr(clean, name))
    assert torch.equal(case.gradient(out.loss), clean_gradient)


@pytest.mark.parametrize("distance", [-1e4, -50.0, 50.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_far_policies_stay_finite(distance: float, advantage: float) -> None:
    new = torch.full((1, 2), distance, requires_grad=True)
    out = clipped_policy_loss(new, torch.zeros(1, 2), torch.tensor([advantage]), torch.ones(1, 2), **CLIPS)
    (gradient,) = torch.autograd.grad(out.loss, new)
    assert out.loss.isfinite()
    assert out.approx_kl.abs() == 20
    assert (gradient == 0).all()


def test_old_logprobs_and_advantages_get_no_gradient() -> None:
    # With one update per step callers pass the same tensor twice: the ratio is 1, its gradient is not 0.
    logprobs = torch.zeros(1, 3, requires_grad=True)
    advantages = torch.ones(1, requires_grad=True)
    out = clipped_policy_loss(logprobs, logprobs, advantages, torch.ones(1, 3), **CLIPS)
    out.loss.backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.full((1, 3), -1 / 3))
    assert advantages.grad is None


@pytest.mark.parametrize("aggregate", ["token_mean", "sequence_mean"])
def test_without_completion_tokens_everything_is_zero(aggregate: Aggregate) -> None:
    new = torch.full((2, 3), math.nan, requires_grad=True)
    mask = torch.zeros(2, 3, dtype=torch.bool)
    out = clipped_policy_loss(new, new, torch.zeros(2), mask, aggregate=aggregate, **CLIPS)
    (gradient,) = torch.autograd.grad(out.loss, new)
    assert (out.loss, out.clip_low_fraction, out.clip_high_fraction, out.approx_kl) == (0, 0, 0, 0)
    assert torch.equal(gradient, torch.zeros(2, 3))


def test_half_precision_is_computed_in_float32() -> None:
    new, old = (
        torch.full((1, 300), -1.0, dtype=torch.bfloat16),
        torch.full((1, 300), -1.25, dtype=torch.bfloat16),
    )
    mask = torch.ones(1, 300)
    out = clipped_policy_loss(new, old, torch.tensor([-1.0], dtype=torch.bfloat16), mask, **CLIPS)
    assert out.loss.dtype == torch.float32
    assert out.loss.item() == pytest.approx(math.exp(0.25), rel=1e-6)


@seeds
@quick
def test_kl_estimators(seed: int) -> None:
    case = Case(seed)
    for i, t in case.mask.nonzero().tolist():
        new, ref = case.new[i, t].item(), case.old[i, t].item()
        expected = {"k1": new - ref, "k2": (new - ref) ** 2 / 2, "k3": math.exp(ref - new) - (ref - new) - 1}
        for estimator, number in expected.items():
            estimates = kl_divergence(case.new, case.old, estimator=estimator)  # type: ignore[arg-type]
            assert estimates[i, t].item() == pytest.approx(number, rel=1e-9, abs=1e-12)
        break


def test_kl_estimators_average_to_the_divergence() -> None:
    policy, reference = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.4, 0.4, 0.2]).log()
    truth = (policy.exp() * (policy - reference)).sum()
    for estimator in ("k1", "k3"):
        estimates = kl_divergence(policy[None], reference[None], estimator=estimator)  # type: ignore[arg-type]
        torch.testing.assert_close((policy.exp() * estimates[0]).sum(), truth)
    assert (kl_divergence(policy[None], reference[None], estimator="k3") >= 0).all()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_outside_the_completion_is_zero_with_a_clean_gradient(estimator: Any) -> None:
    new = torch.tensor([[-1.0, math.nan, -math.inf, -500.0]], requires_grad=True)
    ref = torch.tensor([[-2.0, -1.0, math.inf, -1.0]])
    mask = torch.tensor([[1, 0, 0, 1]])
    estimates = kl_divergence(new, ref, estimator=estimator, completion_mask=mask)
    (gradient,) = torch.autograd.grad(aggregate_tokens(estimates, mask), new)
    assert estimates.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[0, 1:3] == 0).all()


@pytest.mark.parametrize("clip", [0.0, 0.5, None])
@seeds
@quick
def test_value_loss_agrees_with_the_slow_oracle(clip: float | None, seed: int) -> None:
    case, returns = Case(seed), Case(seed + 1).old
    expected = 0.0
    for i, t in case.mask.nonzero().tolist():
        value, old, target = case.new[i, t].item(), case.old[i, t].item(), returns[i, t].item()
        near = value if clip is None else min(max(value, old - clip), old + clip)
        expected += max((value - target) ** 2, (near - target) ** 2) / 2
    loss = value_loss(case.new, case.old, returns, case.mask, clip=clip)
    assert loss.item() == pytest.approx(expected / int(case.mask.sum()), rel=1e-9)
    halves = [
        value_loss(case.new[rows], case.old[rows], returns[rows], case.mask[rows], clip=clip, denominator=10)
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert sum(half.item() for half in halves) == pytest.approx(expected / 10, rel=1e-9)


def test_value_loss_ignores_masked_tokens_and_its_targets_get_no_gradient() -> None:
    values = torch.tensor([[3.0, math.nan]], requires_grad=True)
    old, returns = (torch.tensor([[x, math.inf]], requires_grad=True) for x in (2.9, 1.0))
    loss = value_loss(values, old, returns, torch.tensor([[1, 0]]), clip=0.5)
    loss.backward()
    assert values.grad is not None
    torch.testing.assert_close(values.grad, torch.tensor([[2.0, 0.0]]))
    assert old.grad is None
    assert returns.grad is None


def test_a_value_beyond_its_clip_gets_no_further_gradient_towards_its_return() -> None:
    values = torch.tensor([[1.0]], requires_grad=True)
    value_loss(values, torch.zeros(1, 1), torch.tensor([[2.0]]), torch.ones(1, 1), clip=0.5).backward()
    assert values.grad is not None
    assert values.grad.item() == 0


def test_denominators() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert loss_denominator(mask, "token_mean") == 3
    assert loss_denominator(mask, "sequence_mean") == 2
    values = torch.tensor([[1.0, 3.0, 100.0], [6.0, 100.0, 100.0], [100.0, 100.0, 100.0]])
    assert aggregate_tokens(values, mask) == pytest.approx(10 / 3)
    assert aggregate_tokens(values, mask, "sequence_mean") == 4
    assert aggregate_tokens(values, mask, "constant", 5) == 2
    assert aggregate_tokens(values, mask, "sequence_mean", 4) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old_logprobs": torch.zeros(2, 4)}, r"old_logprobs \[2, 4\]"),
        ({"completion_mask": torch.ones(3, 2)}, r"completion_mask \[3, 2\]"),
        ({"advantages": torch.zeros(3)}, r"advantages have shape \[3\]; allowed are \[2\] and \[2, 3\]"),
        ({"advantages": torch.zeros(2, 1)}, r"advantages have shape \[2, 1\]"),
        ({"clip_low": -0.1}, "clip_low is -0.1"),
        ({"clip_high": math.nan}, "clip_high is nan"),
        ({"aggregate": "mean"}, "aggregate is 'mean'"),
        ({"aggregate": "constant"}, "'constant' needs a denominator"),
        ({"denominator": 0.0}, "denominator is 0.0"),
        ({"denominator": math.inf}, "denominator is inf"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "logprobs": torch.zeros(2, 3),
        "old_logprobs": torch.zeros(2, 3),
        "advantages": torch.zeros(2),
        "completion_mask": torch.ones(2, 3),
    }
    with pytest.raises(ConfigError, match=message) as caught:
        clipped_policy_loss(**(arguments | CLIPS | changes))
    assert "\n" not in str(caught.value)


def test_unknown_aggregate_with_a_denominator_is_refused() -> None:
    with pytest.raises(ConfigError, match="aggregate is 'mean'"):
        aggregate_tokens(torch.zeros(1, 1), torch.ones(1, 1), "mean", 3.0)  # type: ignore[arg-type]


def test_wrong_kl_and_value_arguments_are_refused() -> None:
    one = torch.zeros(1, 1)
    with pytest.raises(ConfigError, match="estimator is 'k4'"):
        kl_divergence(one, one, estimator="k4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"ref_logprobs \[1, 2\]"):
        kl_divergence(one, torch.zeros(1, 2), estimator="k1")
    with pytest.raises(ConfigError, match=r"returns \[1, 2\]"):
        value_loss(one, one, torch.zeros(1, 2), one, clip=0.5)
    with pytest.raises(ConfigError, match="clip is -1"):
        value_loss(one, one, one, one, clip=-1)
