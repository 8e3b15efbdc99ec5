"""verl's own entry point on a real local Ray, without a GPU: two steps of the shipped model, advantages traced."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.advantages import ngrpo_advantages
from ngrpo.engines.verl.files import VerlFiles
from ngrpo.reports.run_dir import RunDir

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"
SMALL = (
    "run.steps=2",
    "sampling.problems_per_step=16",
    "optimizer.updates_per_step=2",
    "optimizer.lr=1e-3",
    "optimizer.schedule=constant",
    "optimizer.warmup_steps=0",
    "evaluation.every=0",
    "task.train_size=256",
)
TRACER = """
import functools, json, os
import ngrpo.adapters.verl
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as known

def traced(function):
    @functools.wraps(function)
    def wrapper(token_level_rewards, response_mask, index=None, config=None, **more):
        advantages, returns = function(token_level_rewards, response_mask, index=index, config=config, **more)
        row = dict(rewards=token_level_rewards.sum(-1).tolist(), mask=response_mask.tolist(),
                   uids=[str(uid) for uid in index], advantages=advantages.tolist())
        with open(os.environ["TRACE"], "a") as file:
            file.write(json.dumps(row) + "\\n")
        return advantages, returns
    return wrapper

known["ngrpo"] = traced(known["ngrpo"])
"""


def train(folder, *, workers, settings=(), timeout=280):
    """Trains by `ngrpo train --engine verl`; returns the run folder and what was traced."""
    (folder / "tracer.py").write_text(TRACER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder), "TRACE": str(folder / "trace.jsonl"), "HF_HUB_OFFLINE": "1"}
    environment["VERL_USE_EXTERNAL_MODULES"] = "tracer"
    given = [*SMALL, "cluster.device=cpu", f"cluster.gpus_per_node={workers}", *settings]
    command = [sys.executable, "-m", "ngrpo", "train", str(CONFIG), "--engine", "verl", "--out", str(folder / "run")]
    command += [part for setting in given for part in ("--set", setting)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr + VerlFiles(folder / "run").log.read_text(errors="replace")[-4000:]
    return RunDir.open(folder / "run"), lines(folder / "trace.jsonl")


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def groups_of(row):
    """Rewards and advantages of each group; a row's own advantage is that of its first token."""
    groups = {}
    for uid, reward, mask, advantages in zip(row["uids"], row["rewards"], row["mask"], row["advantages"], strict=True):
        if any(mask):
            assert all(math.isclose(a, advantages[0] * m, abs_tol=1e-9) for a, m in zip(advantages, mask, strict=True))
            groups.setdefault(uid, []).append((reward, advantages[0]))
    return [tuple(map(list, zip(*members, strict=True))) for members in groups.values()]


@pytest.mark.parametrize(
    ("workers", "settings", "dropped"),
    [(1, (), "all_correct"), (2, ("method.filter=all", "sampling.group_size=4"), "all")],
    ids=["one worker", "two workers, refilled"],
)
def test_two_steps(tmp_path, workers, settings, dropped):
    run, trace = train(tmp_path, workers=workers, settings=settings)
    metrics = run.read_metrics()
    assert len(trace) == len(metrics) == 2
    for row, told in zip(trace, metrics, strict=True):
        groups = groups_of(row)
        assert len(groups) == told["batch/groups"] == 16
        for rewards, advantages in groups:
            assert len(rewards) == (8 if workers == 1 else 4)
            expected = ngrpo_advantages(torch.tensor([rewards]))[0]
            torch.testing.assert_close(torch.tensor(advantages), expected, atol=1e-6, rtol=0)
            assert min(rewards) < 1
            assert dropped != "all" or max(rewards) == 1
        # The sampler and the trainer agree on every token, after the update of the weights as before.
        assert told["policy/sampler_gap_probability_max"] < 1e-4
        assert told["update/grad_norm"] > 1e-3
        assert told["update/count"] == 2
        if dropped == "all":
            assert told["batch/rounds"] > 1
            assert told["batch/sampled_groups"] > 16
            assert told["group/all_wrong"] > 0  # counted before the filter
        check_rollouts(run, told, groups)
    assert run.latest_checkpoint()[0] == 2
    assert (run.latest_checkpoint()[1] / "model.safetensors").is_file()
    assert metrics[1]["total/updates"] == 4


def check_rollouts(run, told, groups):
    """The step's rollouts are those that verl trained on, with their advantages, and those that were dropped."""
    rollouts = [line for line in run.read_rollouts() if line["step"] == told["step"]]
    assert len(rollouts) == told["batch/sampled_groups"] * len(groups[0][0])
    trained = [(line["reward"], line["advantage"]) for line in rollouts if line["advantage"] is not None]
    traced = [pair for rewards, advantages in groups for pair in zip(rewards, advantages, strict=True)]
    for ours, theirs in zip(sorted(trained), sorted(traced), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert {line["status"] for line in rollouts} <= {"correct", "wrong", "no_answer"}
    assert all(0 < line["num_tokens"] <= 16 for line in rollouts)
    assert told["reward/mean"] == pytest.approx(sum(line["reward"] for line in rollouts) / len(rollouts))
