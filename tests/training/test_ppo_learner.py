"""PPO as a whole: the wiring of rewards, values and advantages, the warm-up, a shared trunk, and exact runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngrpo.config import OptimizerSettings
from ngrpo.errors import CheckpointError
from ngrpo.methods import PPO
from ngrpo.models import LanguageModel
from ngrpo.runs.announcement import run_facts
from ngrpo.runs.run_dir import RunDir
from ngrpo.training.batch import ValuedRow
from ngrpo.training.collect import GradedGroups
from ngrpo.training.critic import Critic, CriticUpdater
from ngrpo.training.learner import OldLogprobs
from ngrpo.training.ppo_learner import PPOLearner
from ngrpo.training.update import PolicyUpdater
from tests.training.test_learner import GROUPS
from tests.training.test_update import perturbed, token_values

MakeLearner = Callable[..., PPOLearner]
CRITIC_FILES = ("critic/model.safetensors", "critic/optimizer.safetensors")


@pytest.fixture
def learner(load_base: Callable[..., LanguageModel]) -> MakeLearner:
    """A learner whose reference and policy differ and whose value head is random."""

    def make(temperature: float = 1.0, recompute: bool = False, **table: Any) -> PPOLearner:
        method = PPO.parse({"name": "ppo", "entropy_bonus": 0.0, **table})
        settings = OptimizerSettings.parse({"lr": 1e-4, "tokens_per_micro_batch": 64})
        policy, shared = perturbed(load_base()), method.critic == "shared"
        critic = Critic(policy if shared else load_base(), shared=shared)
        with torch.no_grad():
            critic.head.weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(3))
        updater = PolicyUpdater(policy, load_base(), method, settings, temperature=temperature, max_completion_tokens=8)
        critic_updater = CriticUpdater(critic, method, settings)
        return PPOLearner(updater, critic_updater, method, OldLogprobs(recompute))

    return make


def flat_rows(learner: PPOLearner) -> list[ValuedRow]:
    return [row for rows in learner.make_batch(GradedGroups.of(GROUPS)).rows for row in rows]


def weights(updater: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in updater.parameters.values()]).clone()


def slow_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Every sum written out: A_t is the sum over later steps k of (gamma lam)^k delta_(t + k)."""
    size, after = len(rewards), [*values, 0.0]
    deltas = [rewards[t] + gamma * after[t + 1] - after[t] for t in range(size)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, size)) for t in range(size)]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.7)])
@pytest.mark.parametrize("recompute", [False, True])
def test_rewards_values_and_masks_meet_as_in_the_slow_oracle(
    learner: MakeLearner, gamma: float, lam: float, recompute: bool
) -> None:
    ppo = learner(0.7, recompute, gamma=gamma, lam=lam, reward_kl_coefficient=0.3)
    batch = ppo.make_batch(GradedGroups.of(GROUPS))
    rollouts = [r for group in GROUPS for r in group.rollouts if r.grade.graded]
    assert ppo.updater.reference is not None
    advantages, returns, kl = [], [], []
    for rollout, row in zip(rollouts, [row for rows in batch.rows for row in rows], strict=True):
        with torch.no_grad():
            old = token_values(ppo.updater.policy, row, 0.7)[0] if recompute else torch.full((len(row.completion),), -1)
            ref = token_values(ppo.updater.reference, row, 0.7)[0]
        rewards = (-0.3 * (old - ref)).tolist()
        kl += (old - ref).tolist()
        rewards[-1] += rollout.grade.reward
        values = ppo.critic.values([row])[0].tolist()
        np.testing.assert_allclose(row.old_values, values, atol=1e-5)
        raw = slow_gae(rewards, values, gamma, lam)
        advantages.append(raw)
        returns.append([a + v for a, v in zip(raw, values, strict=True)])
    every = np.concatenate(advantages)
    whitened = [(np.array(a) - every.mean()) / every.std(ddof=1) for a in advantages]
    for row, expected, future in zip([r for rows in batch.rows for r in rows], whitened, returns, strict=True):
        np.testing.assert_allclose(row.advantages, expected, atol=1e-4)
        np.testing.assert_allclose(row.returns, future, atol=1e-4)
    assert batch.metrics["policy/ref_kl"] == pytest.approx(np.mean(kl), rel=1e-4)
    values, future = (np.concatenate(x) for x in ([r.old_values for rs in batch.rows for r in rs], returns))
    explained = 1 - (future - values).var() / future.var()
    assert batch.metrics["critic/explained_variance"] == pytest.approx(explained, abs=1e-4)
    assert batch.metrics["critic/mean_value"] == pytest.approx(values.mean(), abs=1e-5)
    assert batch.advantages[1, 1] == 0.0  # ungraded
    assert batch.advantages[0, 2] == pytest.approx(whitened[2].mean(), abs=1e-5)


def test_without_kl_no_reference_is_asked(learner: MakeLearner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyUpdater, "ref_logprobs", lambda *_: pytest.fail("asked"))
    batch = learner(reward_kl_coefficient=0.0, gamma=0.5).make_batch(GradedGroups.of(GROUPS))
    assert "policy/ref_kl" not in batch.metrics
    assert batch.rows[2][0].returns.tolist() == pytest.approx([0.5, 1.0], abs=1e-5)


def test_a_step_without_a_group_has_the_same_metrics(learner: MakeLearner) -> None:
    ppo = learner()
    empty = ppo.make_batch(GradedGroups.of([]))
    assert empty.metrics == dict.fromkeys(ppo.make_batch(GradedGroups.of(GROUPS)).metrics, 0.0)
    assert ppo.take_updates([], step=1).keys() == ppo.take_updates([flat_rows(ppo)], step=1).keys()


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_the_warm_up_moves_the_critic_alone(learner: MakeLearner, critic: str) -> None:
    ppo = learner(critic=critic, critic_warmup_steps=2, critic_lr=1e-3)
    rows = flat_rows(ppo)
    policy, values = weights(ppo.updater), weights(ppo.critic)
    for step in (1, 2):
        metrics = ppo.take_updates([rows, rows], step=step)
        assert metrics["update/count"] == metrics["update/grad_norm"] == 0
        assert metrics["critic/loss"] > 0
    assert torch.equal(weights(ppo.updater), policy)
    assert not ppo.updater.optimizer.state
    assert not torch.equal(weights(ppo.critic), values)
    assert ppo.take_updates([rows], step=3)["update/count"] == 1
    assert not torch.equal(weights(ppo.updater), policy)


def gradient(ppo: PPOLearner, *, policy: bool, values: bool) -> Tensor:
    rows = flat_rows(ppo)
    if values:
        ppo.critic.accumulate_gradient(rows)
    if policy:
        ppo.updater.accumulate_gradient(rows, ppo.updater.denominator(rows))
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in ppo.updater.parameters.values()]
    ppo.updater.optimizer.zero_grad()
    ppo.critic.optimizer.zero_grad()
    return torch.cat([part.flatten() for part in parts]).clone()


def test_both_losses_have_a_gradient_in_a_shared_trunk(learner: MakeLearner) -> None:
    ppo = learner(critic="shared", value_coefficient=0.5)
    of_policy, of_values = gradient(ppo, policy=True, values=False), gradient(ppo, policy=False, values=True)
    both = gradient(ppo, policy=True, values=True)
    assert min(float(of_policy.norm()), float(of_values.norm())) > 0
    assert float((both - of_policy - of_values).norm() / both.norm()) < 1e-5
    doubled = gradient(learner(critic="shared", value_coefficient=1.0), policy=False, values=True)
    assert float((doubled - 2 * of_values).norm() / doubled.norm()) < 1e-4


def test_a_separate_critic_has_no_gradient_in_the_policy(learner: MakeLearner) -> None:
    assert not gradient(learner(), policy=False, values=True).any()


# Whole runs.

STEPS = ("method.name=ppo", "method.critic_lr=1e-3", "run.steps=4", "run.save_every=2")


def run_bytes(run: RunDir) -> list[bytes]:
    lines = [{k: v for k, v in line.items() if not k.startswith("time/")} for line in run.read_metrics()]
    newest = run.latest_checkpoint()
    assert newest is not None
    names = ("model.safetensors", "optimizer.safetensors", "trainer_state.json", *CRITIC_FILES)
    return [json.dumps(lines).encode(), run.rollouts_path.read_bytes(), *((newest[1] / n).read_bytes() for n in names)]


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_a_run_resumes_byte_for_byte(tmp_path: Path, small_config: Any, train: Any, critic: str) -> None:
    config = small_config(*STEPS, f"method.critic={critic}", "method.critic_warmup_steps=1")
    whole = train(tmp_path / "whole", config)
    shutil.copytree(whole.path, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step_000004")
    assert run_bytes(train(tmp_path / "cut", config)) == run_bytes(whole)
    assert [line["update/count"] for line in whole.read_metrics()] == [0, 4, 4, 4]
    assert whole.read_metrics()[-1]["total/updates"] == 12


def test_checkpointed_activations_give_the_same_run(tmp_path: Path, small_config: Any, train: Any) -> None:
    runs = [
        train(tmp_path / on, small_config(*STEPS, "run.steps=2", f"model.gradient_checkpointing={on}"))
        for on in ("true", "false")
    ]
    assert run_bytes(runs[0]) == run_bytes(runs[1])


def test_a_checkpoint_without_its_critic_is_one_line(tmp_path: Path, small_config: Any, train: Any) -> None:
    run = train(tmp_path / "run", small_config(*STEPS, "run.steps=1"))
    shutil.rmtree(run.checkpoint_path(1) / "critic")
    with pytest.raises(CheckpointError, match="critic") as error:
        train(run.path, small_config(*STEPS))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.lora.rank=2",),
        ("model.lora.rank=2", "method.critic=shared"),
        ("model.dtype=bfloat16",),
        ("sampling.group_size=1",),
        ("method.filter=all", "method.entropy_bonus=0.01"),
        ("method.kl_coefficient=0.1", "method.reward_kl_coefficient=0.0"),
        ("optimizer.passes_per_step=2",),
    ],
)
def test_two_steps_of(overrides: tuple[str, ...], tmp_path: Path, small_config: Any, train: Any) -> None:
    lines = train(tmp_path / "run", small_config(*STEPS, *overrides, "run.steps=2")).read_metrics()
    for line in lines:
        assert line["update/count"] == 4
        assert None not in line.values()
        assert {"critic/loss", "critic/explained_variance", "critic/mean_value", "critic/grad_norm"} <= line.keys()
    assert lines[0]["policy/ref_kl"] == pytest.approx(0.0, abs=0.02)
    assert lines[1]["policy/ref_kl"] != 0.0


def test_on_countdown_the_value_loss_falls_within_thirty_steps(tmp_path: Path, small_config: Any, train: Any) -> None:
    """The policy is held by a warm-up and the problems are the same in every step: else the returns change too."""
    table = ("task.train_size=32", "sampling.problems_per_step=32", "sampling.group_size=8", "run.save_every=0")
    lines = train(
        tmp_path / "run", small_config(*STEPS, *table, "run.steps=30", "method.critic_warmup_steps=30")
    ).read_metrics()
    first, last = ([line["critic/loss"] for line in part] for part in (lines[:5], lines[-5:]))
    assert np.mean(last) < 0.9 * np.mean(first)
    assert lines[0]["critic/explained_variance"] == 0.0
    assert np.mean([line["critic/explained_variance"] for line in lines[-8:]]) > 0.04
    assert abs(lines[-1]["critic/mean_value"] - lines[-1]["reward/mean"]) < 0.1


def test_what_is_said_at_the_start(small_config: Any) -> None:
    facts = run_facts(small_config("method.name=ppo", "method.critic_warmup_steps=3"))
    assert facts[1].startswith("critic: a separate model, learning rate 1e-05, value clip 0.5; advantages by GAE")
    assert facts[3:] == [
        "reward of each token: minus 0.001 x KL (k1) to the starting model",
        "critic warm-up: the policy is frozen for 3 steps, which is the whole run",
    ]
    shared = run_facts(small_config("method.name=ppo", "method.critic=shared", "method.filter=all"))
    assert shared[1].startswith("critic: a head on the policy")
    assert shared[3] == "groups that filter 'all' drops are replaced by further problems"
