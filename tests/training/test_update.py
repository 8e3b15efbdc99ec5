"""The update against a slow oracle, and every way of cutting it up against the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngrpo.errors import TrainingError
from ngrpo.methods import Method
from ngrpo.models import LanguageModel
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.training.batch import TrainingRow
from ngrpo.training.optimizer import MAX_SKIPPED_UPDATES, update_metrics
from ngrpo.training.update import PolicyUpdater
from ngrpo.types import Problem

AGGREGATES = ("token_mean", "sequence_mean", "constant")


def perturbed(lm: LanguageModel) -> LanguageModel:
    """Changes the weights a little, so that policy and reference differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in lm.trained_parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return lm


def in_float64(lm: LanguageModel) -> LanguageModel:
    """Leaves only what the update itself rounds: in float32 the model's own rounding is already 1e-6."""
    lm.model.double()
    return lm


def gradient(updater: PolicyUpdater, rows: Sequence[TrainingRow]) -> Tensor:
    updater.optimizer.zero_grad()
    updater.accumulate_gradient(rows, updater.denominator(rows))
    return flat(updater)


def flat(updater: PolicyUpdater) -> Tensor:
    return torch.cat([p.grad.flatten() if p.grad is not None else 0 * p.flatten() for p in updater.parameters.values()])


def weights(updater: PolicyUpdater) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in updater.parameters.values()]).clone()


def assert_same(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compares two gradients: the norm of their difference against the norm of the expected one."""
    assert float(expected.abs().max()) > 0
    assert float((actual - expected).double().norm() / expected.double().norm()) < tolerance


def oracle_loss(updater: PolicyUpdater, rows: Sequence[TrainingRow]) -> Tensor:
    """The loss of an update in plain formulas over full logits, one row at a time."""
    method, total = updater.method, torch.zeros(())
    denominators = {
        "token_mean": sum(len(row.completion) for row in rows),
        "sequence_mean": len(rows),
        "constant": len(rows) * 8,
    }
    for row in rows:
        logprobs, entropies = token_values(updater.policy, row, updater.temperature)
        ratio = torch.exp(logprobs - torch.from_numpy(row.old_logprobs))
        bounded = torch.clamp(ratio, 1 - method.clip_low, 1 + method.clip_high)
        advantages = torch.from_numpy(row.advantages)
        values = -torch.minimum(ratio * advantages, bounded * advantages)
        values = values - method.entropy_bonus * entropies
        if method.kl_coefficient:
            assert updater.reference is not None
            with torch.no_grad():
                reference, _ = token_values(updater.reference, row, updater.temperature)
            difference = reference - logprobs
            k = {"k1": -difference, "k2": difference**2 / 2, "k3": difference.exp() - difference - 1}
            values = values + method.kl_coefficient * k[method.kl_estimator]
        share = values.mean() if method.aggregate == "sequence_mean" else values.sum()
        total = total + share / denominators[method.aggregate]
    return total


def token_values(lm: LanguageModel, row: TrainingRow, temperature: float) -> tuple[Tensor, Tensor]:
    ids = torch.from_numpy(np.concatenate([row.prompt, row.completion]))[None]
    all_logprobs = torch.log_softmax(lm.model(ids).logits[0] / temperature, dim=-1)
    predicting = all_logprobs[len(row.prompt) - 1 : -1]
    chosen = predicting[torch.arange(len(row.completion)), torch.from_numpy(row.completion)]
    return chosen, -(predicting.exp() * predicting).sum(-1)


METHODS: list[dict[str, Any]] = [
    {"name": "ngrpo"},
    {"name": "ngrpo", "entropy_bonus": 0.05},
    {"name": "grpo", "kl_coefficient": 0.1},
    {"name": "dapo", "kl_coefficient": 0.2, "kl_estimator": "k2", "entropy_bonus": -0.02},
    {"name": "grpo", "kl_coefficient": 0.1, "kl_estimator": "k1"},
]


@pytest.fixture(scope="module")
def reference(load_base: Callable[..., LanguageModel]) -> LanguageModel:
    return in_float64(load_base())


@pytest.fixture(scope="module")
def moved(load_base: Callable[..., LanguageModel]) -> LanguageModel:
    return in_float64(perturbed(load_base()))


@pytest.fixture
def updater_of(make_updater: Any, moved: LanguageModel, reference: LanguageModel) -> Callable[..., PolicyUpdater]:
    """An updater whose weights are not stepped, on one model for all tests of this module."""

    def make(method: dict[str, Any], **settings: Any) -> PolicyUpdater:
        return make_updater(method, lm=moved, reference=reference, **settings)  # type: ignore[no-any-return]

    return make


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_are_those_of_the_slow_oracle(
    updater_of: Any, random_rows: list[TrainingRow], method: dict[str, Any], aggregate: str
) -> None:
    updater = updater_of({**method, "aggregate": aggregate}, tokens_per_micro_batch=64, temperature=0.7)
    updater.optimizer.zero_grad()
    sums = updater.accumulate_gradient(random_rows, updater.denominator(random_rows))
    ours = flat(updater)
    updater.optimizer.zero_grad()
    loss = oracle_loss(updater, random_rows)
    loss.backward()
    assert float(sums.loss) == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
    assert_same(ours, flat(updater), 1e-5)


OTHER_LOSSES: list[dict[str, Any]] = [{"name": "ngrpo", "loss": "gspo"}, {"name": "ngrpo", "loss": "cispo"}]


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("method", [*METHODS, *OTHER_LOSSES])
def test_the_gradient_of_many_micro_batches_is_that_of_one(
    updater_of: Any, random_rows: list[TrainingRow], method: dict[str, Any], aggregate: str
) -> None:
    whole = gradient(updater_of({**method, "aggregate": aggregate}, tokens_per_micro_batch=10**6), random_rows)
    for budget in (16, 40, 100):
        parts = updater_of({**method, "aggregate": aggregate}, tokens_per_micro_batch=budget)
        assert_same(gradient(parts, random_rows), whole, 1e-6)


def test_each_loss_is_the_methods_own(updater_of: Any, random_rows: list[TrainingRow]) -> None:
    clipped, *others = (gradient(updater_of(table), random_rows) for table in ({"name": "ngrpo"}, *OTHER_LOSSES))
    for other in others:
        assert float(torch.nn.functional.cosine_similarity(clipped, other, dim=0)) < 0.99


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_leaving_out_rows_without_advantage_changes_nothing(
    updater_of: Any, random_rows: list[TrainingRow], aggregate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    updater = updater_of({"name": "ngrpo", "aggregate": aggregate})
    updater.optimizer.zero_grad()
    sums = updater.accumulate_gradient(random_rows, updater.denominator(random_rows))
    without = flat(updater)
    assert (sums.rows, sums.rows_computed) == (24, 16)
    monkeypatch.setattr(Method, "trains_on_zero_advantage", True)
    updater.optimizer.zero_grad()
    everything = updater.accumulate_gradient(random_rows, updater.denominator(random_rows))
    assert everything.rows_computed == 24
    assert_same(without, flat(updater), 1e-6)


@pytest.mark.parametrize("term", [{"kl_coefficient": 0.1}, {"entropy_bonus": 0.1}])
def test_rows_without_advantage_are_computed_where_another_term_acts_on_them(
    updater_of: Any, random_rows: list[TrainingRow], term: dict[str, float]
) -> None:
    updater = updater_of({"name": "ngrpo", **term})
    assert updater.accumulate_gradient(random_rows, 1.0).rows_computed == 24


def test_an_update_in_which_no_row_was_computed_is_the_one_with_a_gradient_of_zero(
    make_updater: Any, random_rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Momentum and weight decay go on: skipping rows must not skip them."""
    zero = [TrainingRow(row.prompt, row.completion, row.old_logprobs, 0 * row.advantages) for row in random_rows]
    updates = [random_rows, zero, random_rows]
    ends = []
    for computed in (False, True):
        if computed:
            monkeypatch.setattr(Method, "trains_on_zero_advantage", True)
        updater = make_updater({"name": "ngrpo"}, lr=1e-3)
        assert updater.take_updates([zero], step=1).updates == 1
        assert updater.take_updates(updates, step=2).updates == 3
        ends.append(weights(updater))
    assert float((ends[0] - ends[1]).abs().max()) < 1e-6


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_dropping_groups_without_advantage_changes_the_denominator_only(
    updater_of: Any, random_rows: list[TrainingRow], aggregate: str
) -> None:
    updater = updater_of({"name": "ngrpo", "aggregate": aggregate})
    kept, dropped = random_rows, [row for row in random_rows if row.advantages.any()]
    tokens = [sum(len(row.completion) for row in rows) for rows in (kept, dropped)]
    expected = {"token_mean": tokens, "sequence_mean": [24, 16], "constant": [24 * 8, 16 * 8]}[aggregate]
    assert [updater.denominator(rows) for rows in (kept, dropped)] == expected
    with_them, without = gradient(updater, kept) * expected[0], gradient(updater, dropped) * expected[1]
    assert_same(with_them, without, 1e-6)


def sampled_rows(lm: LanguageModel, temperature: float = 1.0, count: int = 16) -> list[TrainingRow]:
    """Rows that the model itself wrote, with alternating advantages."""
    prompts = []
    for i, text in enumerate(("2 7 9 12 = 23 :", "1 3 4 6 = 24 :", "5 5 5 5 = 10 :", "2 3 4 = 20 :")):
        tokens = np.asarray(lm.tokenizer.encode(text), dtype=np.int64)
        prompts.append(Prompt(Problem(str(i), text, ""), tokens))
    sampled = TransformersSampler(lm).sample(
        prompts, range(count // 4), Decoding(temperature, 1.0, 8), seed=0, round_name="test"
    )
    return [
        TrainingRow(
            prompt.tokens,
            completion.tokens,
            completion.logprobs,
            np.full_like(completion.logprobs, 1.0 if sample % 2 else -0.5),
        )
        for prompt, completions in zip(prompts, sampled, strict=True)
        for sample, completion in enumerate(completions)
    ]


def test_the_ratio_is_1_at_the_first_update_and_clipped_later(make_updater: Any) -> None:
    updater = make_updater({"name": "ngrpo"}, lr=3e-3, max_grad_norm=100.0)
    rows = sampled_rows(updater.policy)
    first = update_metrics(updater.take_updates([rows], step=1))
    assert abs(first["policy/approx_kl"]) < 1e-5
    assert first["clip/low_fraction"] == first["clip/high_fraction"] == 0.0
    later = update_metrics(updater.take_updates([rows] * 3, step=2))
    assert later["policy/approx_kl"] > 1e-3
    assert later["clip/low_fraction"] > 0.0
    assert later["clip/high_fraction"] > 0.0
    assert later["clip/low_fraction"] + later["clip/high_fraction"] <= 1.0


@pytest.mark.parametrize("budget", [20, 10**6])
def test_step_metrics_are_token_means_however_rows_are_cut(
    updater_of: Any, random_rows: list[TrainingRow], budget: int
) -> None:
    updater = updater_of({"name": "grpo", "entropy_bonus": 0.01}, tokens_per_micro_batch=budget)
    sums = updater.accumulate_gradient(random_rows, updater.denominator(random_rows))
    low = kl = entropy = 0.0
    for row in random_rows:
        logprobs, entropies = token_values(updater.policy, row, 1.0)
        moved = logprobs.detach() - torch.from_numpy(row.old_logprobs)
        low += float(((moved.exp() < 0.8) & (torch.from_numpy(row.advantages) < 0)).sum())
        kl -= float(moved.sum())
        entropy += entropies.sum().item()
    assert sums.tokens == sum(len(row.completion) for row in random_rows)
    assert float(sums.per_token["clip/low_fraction"]) == pytest.approx(low, abs=1e-3)
    assert float(sums.per_token["policy/approx_kl"]) == pytest.approx(kl, rel=1e-4)
    assert float(sums.per_token["update/entropy"]) == pytest.approx(entropy, rel=1e-4)


def broken(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    return [TrainingRow(row.prompt, row.completion, row.old_logprobs, math.nan * row.advantages) for row in rows]


def test_an_update_without_a_finite_gradient_is_skipped_and_counted(
    make_updater: Any, random_rows: list[TrainingRow]
) -> None:
    updater = make_updater({"name": "ngrpo"})
    updater.take_updates([random_rows], step=1)
    before = weights(updater)
    moments = {name: updater.optimizer.state[p]["exp_avg"].clone() for name, p in updater.parameters.items()}
    metrics = update_metrics(updater.take_updates([broken(random_rows)], step=2))
    assert torch.equal(weights(updater), before)
    for name, parameter in updater.parameters.items():
        assert torch.equal(updater.optimizer.state[parameter]["exp_avg"], moments[name])
    assert (metrics["update/count"], metrics["update/skipped"]) == (0, 1)
    assert all(math.isfinite(value) for value in metrics.values())
    after = update_metrics(updater.take_updates([random_rows], step=3))
    assert (after["update/count"], after["update/skipped"]) == (1, 0)
    assert not torch.equal(weights(updater), before)


def test_too_many_skipped_updates_in_a_row_end_the_run(make_updater: Any, random_rows: list[TrainingRow]) -> None:
    updater = make_updater({"name": "ngrpo"})
    bad = broken(random_rows[:2])
    updater.take_updates([bad] * (MAX_SKIPPED_UPDATES - 1) + [random_rows], step=1)
    updater.take_updates([bad] * (MAX_SKIPPED_UPDATES - 1), step=2)  # counted anew after the good one
    with pytest.raises(TrainingError, match=f"{MAX_SKIPPED_UPDATES} updates in a row had no finite gradient") as error:
        updater.take_updates([bad], step=3)
    assert "\n" not in str(error.value)


def test_learning_rate_warms_up_linearly_by_step(make_updater: Any, random_rows: list[TrainingRow]) -> None:
    updater = make_updater({"name": "ngrpo"}, lr=1e-3, schedule="warmup", warmup_steps=4)
    assert [updater.learning_rate(step) for step in (1, 2, 3, 4, 5, 100)] == [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3]
    updater.take_updates([random_rows], step=2)
    assert updater.optimizer.param_groups[0]["lr"] == 5e-4
    assert make_updater({"name": "ngrpo"}, lr=1e-3).learning_rate(1) == 1e-3


@pytest.mark.parametrize("max_grad_norm", [1e-3, 1e6])
def test_the_gradient_is_scaled_down_to_its_bound_and_adamw_takes_the_step(
    make_updater: Any, random_rows: list[TrainingRow], max_grad_norm: float
) -> None:
    settings = {"lr": 1e-3, "betas": [0.8, 0.9], "weight_decay": 0.1, "max_grad_norm": max_grad_norm}
    updater = make_updater({"name": "ngrpo"}, **settings)
    raw = gradient(updater, random_rows)
    norm = float(raw.double().norm())
    scaled = raw * min(1.0, max_grad_norm / norm)
    before = weights(updater)
    updater.optimizer.zero_grad()
    totals = updater.take_updates([random_rows], step=1)
    assert update_metrics(totals)["update/grad_norm"] == pytest.approx(norm, rel=1e-4)
    # AdamW's first step: both moments, bias-corrected, are the gradient and its square.
    moved = before * (1 - 1e-3 * 0.1) - 1e-3 * scaled / (scaled.abs() + 1e-8)
    clear = scaled.abs() > 1e-6  # below, the quotient hangs on rounding
    assert float((weights(updater) - moved)[clear].abs().max()) < 2e-5
    first = torch.cat([updater.optimizer.state[p]["exp_avg"].flatten() for p in updater.parameters.values()])
    assert_same(first / 0.2, scaled, 1e-4)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_policys_logprobs_are_the_samplers(make_updater: Any, temperature: float) -> None:
    updater = make_updater({"name": "ngrpo"}, temperature=temperature, tokens_per_micro_batch=40)
    rows = sampled_rows(updater.policy, temperature)
    for row, logprobs in zip(rows, updater.logprobs(rows), strict=True):
        np.testing.assert_allclose(logprobs, row.old_logprobs, atol=1e-4)
    entropies = updater.entropies(rows)
    for row, spread in zip(rows, entropies, strict=True):
        np.testing.assert_allclose(spread, token_values(updater.policy, row, temperature)[1].detach(), atol=1e-4)


def test_the_reference_stays_where_training_began(
    make_updater: Any, load_base: Any, random_rows: list[TrainingRow]
) -> None:
    updater = make_updater({"name": "grpo"}, reference=load_base(), lr=1e-3)
    assert update_metrics(updater.take_updates([random_rows], step=1))["policy/ref_kl"] == pytest.approx(0.0, abs=1e-6)
    start = weights(
        PolicyUpdater(
            updater.reference, None, updater.method, updater.settings, temperature=1.0, max_completion_tokens=8
        )
    )
    assert update_metrics(updater.take_updates([random_rows] * 2, step=2))["policy/ref_kl"] > 1e-4
    after = torch.cat([p.detach().flatten() for p in updater.reference.model.parameters()])
    assert torch.equal(after, start)


def test_with_adapters_the_reference_is_the_model_without_them(
    make_updater: Any, load_base: Any, random_rows: list[TrainingRow]
) -> None:
    method = {"name": "grpo", "kl_coefficient": 0.5}
    updater = make_updater(method, lm=load_base(lora={"rank": 4}), lr=1e-2)
    assert all("lora" in name for name in updater.parameters)
    assert update_metrics(updater.take_updates([random_rows] * 2, step=1))["policy/ref_kl"] > 1e-5
    switched_off = gradient(updater, random_rows)
    separate = make_updater(method, lm=updater.policy, reference=load_base(), lr=1e-2)
    assert_same(switched_off, gradient(separate, random_rows), 1e-5)


def test_checkpointed_activations_give_the_same_gradient(
    make_updater: Any, load_base: Any, random_rows: list[TrainingRow]
) -> None:
    plain, checkpointed = (
        make_updater({"name": "ngrpo"}, lm=load_base(gradient_checkpointing=on)) for on in (False, True)
    )
    assert_same(gradient(checkpointed, random_rows), gradient(plain, random_rows), 1e-6)


def test_in_bfloat16_the_weights_stay_float32_and_the_gradient_is_close(
    make_updater: Any, load_base: Any, random_rows: list[TrainingRow]
) -> None:
    half, full = make_updater({"name": "ngrpo"}, lm=load_base(dtype="bfloat16")), make_updater({"name": "ngrpo"})
    assert {parameter.dtype for parameter in half.parameters.values()} == {torch.float32}
    a, b = gradient(half, random_rows), gradient(full, random_rows)
    assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.99
    assert not torch.equal(a, b)
