"""The critic: its values and its loss against slow ones, how it is cut up, and what its checkpoint is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngrpo.config import ModelSettings, OptimizerSettings
from ngrpo.errors import CheckpointError
from ngrpo.methods import PPO
from ngrpo.training.batch import TrainingRow, ValuedRow
from ngrpo.training.checkpoint import load_critic, save_critic
from ngrpo.training.critic import Critic, CriticUpdater

MakeCritic = Callable[..., CriticUpdater]


def settings(**table: Any) -> ModelSettings:
    return ModelSettings.parse({"path": "builtin:countdown-base", "dtype": "float32", "device": "cpu", **table})


@pytest.fixture(scope="session")
def make_critic() -> MakeCritic:
    """A critic of the shipped model; its head is random, unless `random_head` is false."""

    def make(
        *, model: dict[str, Any] | None = None, random_head: bool = True, method: Any = None, **optimizer: Any
    ) -> CriticUpdater:
        critic = Critic.separate(settings(**(model or {})))
        if random_head:
            with torch.no_grad():
                critic.head.weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(3))
                critic.head.bias.fill_(0.1)
        table = OptimizerSettings.parse({"betas": [0.9, 0.95], **optimizer})
        return CriticUpdater(critic, PPO.parse({"name": "ppo", **(method or {})}), table)

    return make


@pytest.fixture
def rows(random_rows: list[TrainingRow]) -> list[ValuedRow]:
    """Rows with values to be clipped against and returns to be learnt."""
    rng = np.random.default_rng(1)
    valued = []
    for row in random_rows:
        old_values, returns = (rng.normal(mean, 0.5, len(row.completion)).astype(np.float32) for mean in (0.0, 0.5))
        valued.append(ValuedRow(row.prompt, row.completion, row.old_logprobs, row.advantages, old_values, returns))
    return valued


def slow_values(critic: Critic, row: ValuedRow) -> Tensor:
    ids = torch.from_numpy(np.concatenate([row.prompt, row.completion]))[None]
    hidden = critic.trunk.plain.get_decoder()(input_ids=ids).last_hidden_state[0]
    before = hidden[len(row.prompt) - 1 : -1]
    return before @ critic.head.weight[0] + critic.head.bias


def gradient(updater: CriticUpdater, rows: list[ValuedRow]) -> Tensor:
    updater.optimizer.zero_grad()
    updater.accumulate_gradient(rows)
    return flat(updater)


def flat(updater: CriticUpdater) -> Tensor:
    return torch.cat([torch.zeros(1) if p.grad is None else p.grad.flatten() for p in updater.parameters.values()])


def assert_same(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert float((actual - expected).norm() / expected.norm()) < tolerance


def test_a_value_is_the_heads_product_with_the_state_before_its_token(
    make_critic: MakeCritic, rows: list[ValuedRow]
) -> None:
    updater = make_critic(tokens_per_micro_batch=40)
    for row, values in zip(rows, updater.values(rows), strict=True):
        np.testing.assert_allclose(values, slow_values(updater.critic, row).detach(), atol=1e-5)


def test_before_training_every_value_is_zero(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    assert not any(values.any() for values in make_critic(random_head=False).values(rows))


@pytest.mark.parametrize("value_clip", [0.1, 0.5])
def test_loss_and_gradient_are_those_of_the_slow_oracle(
    make_critic: MakeCritic, rows: list[ValuedRow], value_clip: float
) -> None:
    updater = make_critic(method={"value_clip": value_clip}, tokens_per_micro_batch=64)
    sums = updater.accumulate_gradient(rows)
    ours = flat(updater)
    updater.optimizer.zero_grad()
    loss = torch.zeros(())
    for row in rows:
        values, old, returns = slow_values(updater.critic, row), *map(torch.from_numpy, (row.old_values, row.returns))
        clipped = torch.minimum(torch.maximum(values, old - value_clip), old + value_clip)
        loss = loss + torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).sum() / 2
    loss = loss / sum(len(row.completion) for row in rows)
    loss.backward()
    assert float(sums.loss) == pytest.approx(loss.item(), rel=1e-5)
    assert_same(ours, flat(updater), 1e-4)


def test_many_micro_batches_have_the_gradient_of_one(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    whole = gradient(make_critic(tokens_per_micro_batch=10**6), rows)
    for budget in (16, 40, 100):
        assert_same(gradient(make_critic(tokens_per_micro_batch=budget), rows), whole, 1e-5)


def test_checkpointed_activations_give_the_same_gradient(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    plain, checkpointed = (make_critic(model={"gradient_checkpointing": on}) for on in (False, True))
    assert_same(gradient(checkpointed, rows), gradient(plain, rows), 1e-5)


def test_the_loss_falls_on_the_same_rows(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    updater = make_critic(method={"critic_lr": 3e-3}, random_head=False)
    losses = []
    updater.begin_step(1)
    for _ in range(20):
        rows = [replace(row, old_values=values) for row, values in zip(rows, updater.values(rows), strict=True)]
        losses.append(float(updater.accumulate_gradient(rows).loss))
        updater.take_step()
    assert losses[-1] < 0.5 * losses[0]


def test_the_learning_rate_is_its_own_and_the_schedule_the_optimizers(make_critic: MakeCritic) -> None:
    updater = make_critic(schedule="warmup", warmup_steps=4, lr=1.0)
    assert [updater.learning_rate(step) for step in (1, 2, 4, 9)] == pytest.approx([2.5e-6, 5e-6, 1e-5, 1e-5])


def test_a_shared_critic_owns_its_head_alone(load_base: Any) -> None:
    names = [name for name, _ in Critic(load_base(), shared=True).trained_parameters()]
    assert names == ["score.weight", "score.bias"]


def test_with_adapters_the_critic_has_some_of_its_own(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    updater = make_critic(model={"lora": {"rank": 2}}, method={"critic_lr": 1e-2})
    assert all("lora" in name or name.startswith("score.") for name in updater.parameters)
    assert any("lora_A" in name for name in updater.parameters)
    before = updater.values(rows)
    updater.begin_step(1)
    for _ in range(2):
        updater.accumulate_gradient(rows)
        updater.take_step()
    assert not np.allclose(updater.values(rows)[0], before[0])


def test_in_bfloat16_weights_head_and_values_stay_float32(make_critic: MakeCritic, rows: list[ValuedRow]) -> None:
    half, full = make_critic(model={"dtype": "bfloat16"}), make_critic()
    assert {parameter.dtype for parameter in half.parameters.values()} == {torch.float32}
    a, b = np.concatenate(half.values(rows)), np.concatenate(full.values(rows))
    assert 0 < np.abs(a - b).max() < 0.1


@pytest.fixture(params=["full", "lora", "shared"])
def saved(
    request: pytest.FixtureRequest, make_critic: MakeCritic, load_base: Any, rows: list[ValuedRow], tmp_path: Path
) -> tuple[Path, CriticUpdater, CriticUpdater]:
    """The folder, the critic that was saved in it after an update, and a fresh one of the same kind."""
    if request.param == "shared":
        kind = lambda: CriticUpdater(Critic(load_base(), shared=True), PPO(), OptimizerSettings())  # noqa: E731
    else:
        kind = lambda: make_critic(model={"lora": {"rank": 2}} if request.param == "lora" else {})  # noqa: E731
    updater = kind()
    updater.begin_step(1)
    updater.accumulate_gradient(rows)
    updater.take_step()
    save_critic(tmp_path / "critic", updater)
    return tmp_path / "critic", updater, kind()


def test_a_saved_critic_comes_back_to_the_bit(saved: tuple[Path, CriticUpdater, CriticUpdater]) -> None:
    folder, updater, fresh = saved
    load_critic(folder, fresh)
    for (name, left), (other, right) in zip(updater.parameters.items(), fresh.parameters.items(), strict=True):
        assert name == other
        assert torch.equal(left, right)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(updater.optimizer.state[left][key], fresh.optimizer.state[right][key])


def test_a_critic_folder_is_a_token_classifier_of_hugging_face(
    make_critic: MakeCritic, rows: list[ValuedRow], tmp_path: Path
) -> None:
    from transformers import AutoModelForTokenClassification

    updater = make_critic()
    save_critic(tmp_path / "critic", updater)
    model, report = AutoModelForTokenClassification.from_pretrained(tmp_path / "critic", output_loading_info=True)
    assert not report["missing_keys"]
    row = max(rows, key=len)
    ids = torch.from_numpy(np.concatenate([row.prompt, row.completion]))[None]
    with torch.no_grad():
        logits = model(ids).logits[0, len(row.prompt) - 1 : -1, 0]
    np.testing.assert_allclose(logits, updater.values([row])[0], atol=1e-5)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_a_damaged_critic_is_one_line(saved: tuple[Path, CriticUpdater, CriticUpdater], name: str, damage: str) -> None:
    folder, _, fresh = saved
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "torn":
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=name) as error:
        load_critic(folder, fresh)
    assert "\n" not in str(error.value)


def test_a_critic_of_another_kind_is_refused(make_critic: MakeCritic, load_base: Any, tmp_path: Path) -> None:
    save_critic(tmp_path / "critic", make_critic())
    shared = CriticUpdater(Critic(load_base(), shared=True), PPO(), OptimizerSettings())
    with pytest.raises(CheckpointError, match="does not fit the critic of this run"):
        load_critic(tmp_path / "critic", shared)
