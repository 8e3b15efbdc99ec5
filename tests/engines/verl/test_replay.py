"""The same rollouts on both engines: what verl makes of a step, replayed through our own trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.adapters.rows import row_advantages
from ngrpo.config import load_config
from ngrpo.engines.verl.files import VerlFiles
from ngrpo.models import load_language_model
from ngrpo.reports.run_dir import RunDir
from ngrpo.training.batch import Row
from ngrpo.training.update import PolicyUpdater

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"
SETTINGS = (
    "run.steps=1",
    "sampling.problems_per_step=16",
    "optimizer.updates_per_step=1",
    "evaluation.every=0",
    "task.train_size=256",
    "cluster.device=cpu",
    # Everything that a loss can have: the reference model, the entropies, a temperature that is not 1.
    "method.kl_coefficient=0.05",
    "method.entropy_bonus=0.01",
    "sampling.temperature=0.8",
)
RECORDER = """
import os, torch
import ngrpo.adapters.verl
import transfer_queue as tq
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

update, step = PPOTrainer._update_actor, FSDPEngine.optimizer_step

def recorded_update(self, batch, metrics):
    names = ["prompts", "responses", "response_mask", "old_log_probs", "advantages", "rm_scores"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    found = update(self, batch, metrics)
    rows = {name: [entry.clone() for entry in data[name].unbind()] for name in names}
    about = {"keys": list(map(str, batch.keys)), "loss": float(metrics["actor/loss"])}
    torch.save({**about, **rows}, os.environ["RECORDS"] + "/step.pt")
    return found

def recorded_step(self):
    grads = {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}
    full = {name: g.full_tensor() if hasattr(g, "full_tensor") else g for name, g in grads.items()}
    torch.save({name: grad.clone() for name, grad in full.items()}, os.environ["RECORDS"] + "/gradient.pt")
    return step(self)

PPOTrainer._update_actor, FSDPEngine.optimizer_step = recorded_update, recorded_step
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """One step of verl: the run's config, the rows it trained on with its loss, and the gradient."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "recorder.py").write_text(RECORDER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder), "RECORDS": str(folder), "HF_HUB_OFFLINE": "1"}
    environment["VERL_USE_EXTERNAL_MODULES"] = "recorder"
    command = [sys.executable, "-m", "ngrpo", "train", str(CONFIG), "--engine", "verl", "--out", str(folder / "run")]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr + VerlFiles(folder / "run").log.read_text(errors="replace")[-4000:]
    config = load_config(RunDir.open(folder / "run").config_path)
    return config, torch.load(folder / "step.pt"), torch.load(folder / "gradient.pt")


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
        Row(prompt.numpy(), tokens.numpy(), old.float().numpy(), advantages.float().numpy())
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
