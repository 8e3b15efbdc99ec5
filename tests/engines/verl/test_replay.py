"""The same rollouts on both engines: what verl makes of a step, replayed through our own trainer."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.adapters.flat_batch import row_advantages
from ngrpo.config import load_config
from ngrpo.models import load_language_model
from ngrpo.training.batch import TrainingRow
from ngrpo.training.update import PolicyUpdater


@pytest.fixture(scope="module")
def recorded(one_worker):
    """The run's config, the rows that its first update trained on with the loss, and the gradient."""
    folder, _, step, gradient = one_worker
    return load_config(folder.config_path), step, gradient


@pytest.fixture(scope="module")
def ours(recorded):
    """Our policy as the run found it, and verl's rows as ours."""
    config, step, _ = recorded
    updater = PolicyUpdater(
        load_language_model(config.model, for_training=True),
        load_language_model(config.model, for_training=False),
        config.method,
        config.optimizer,
        temperature=config.sampling.temperature,
        max_completion_tokens=config.sampling.max_completion_tokens,
    )
    rows = [
        TrainingRow(prompt.numpy(), tokens.numpy(), old.float().numpy(), advantages.float().numpy())
        for prompt, tokens, old, advantages in zip(
            step["prompts"], step["responses"], step["old_log_probs"], step["advantages"], strict=True
        )
    ]
    return updater, rows


def test_advantages_are_equal(recorded):
    config, step, _ = recorded
    rewards = torch.tensor([float(scores.sum()) for scores in step["rm_scores"]])
    expected = row_advantages(config.method, rewards, [key.split("_")[0] for key in step["keys"]])
    assert len(expected) == 16 * config.sampling.group_size
    assert 0 < float(rewards.sum()) < len(rewards)
    for advantages, value in zip(step["advantages"], expected, strict=True):
        torch.testing.assert_close(advantages.float(), value.expand(len(advantages)), atol=1e-6, rtol=0)


def test_old_logprobs_are_equal(recorded, ours):
    updater, rows = ours
    for row, logprobs in zip(rows, updater.logprobs(rows), strict=True):
        assert abs(logprobs - row.old_logprobs).max() < 1e-4


def test_loss_and_gradient_of_the_first_update_are_equal(recorded, ours):
    _, step, theirs = recorded
    updater, rows = ours
    sums = updater.accumulate_gradient(rows, updater.denominator(rows))
    assert float(sums.loss) == pytest.approx(step["loss"], abs=1e-4)
    gradient = {name: p.grad for name, p in updater.policy.plain.named_parameters() if p.grad is not None}
    assert gradient.keys() == theirs.keys()
    apart = sum(float((gradient[name] - theirs[name]).square().sum()) for name in theirs) ** 0.5
    norm = sum(float(grad.square().sum()) for grad in theirs.values()) ** 0.5
    assert norm > 1e-2
    assert apart < 1e-4 * norm


def test_the_comparison_would_see_a_missing_term(recorded, ours):
    _, step, _ = recorded
    updater, rows = ours
    updater.method = updater.method.model_copy(update={"entropy_bonus": 0.0})
    sums = updater.accumulate_gradient(rows, updater.denominator(rows))
    assert abs(float(sums.loss) - step["loss"]) > 1e-3
