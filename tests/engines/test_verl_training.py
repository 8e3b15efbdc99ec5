"""verl's own entry point on a real local Ray, without a GPU: two steps of the shipped model, advantages traced."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.advantages import ngrpo_advantages
from ngrpo.engines.verl_files import VerlFiles

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
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
    """Trains by `ngrpo train --engine verl`, and sees that nothing of it is left."""
    (folder / "tracer.py").write_text(TRACER, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder), "TRACE": str(folder / "trace.jsonl"), "HF_HUB_OFFLINE": "1"}
    environment["VERL_USE_EXTERNAL_MODULES"] = "tracer"
    given = [*SMALL, "cluster.device=cpu", f"cluster.gpus_per_node={workers}", *settings]
    command = [sys.executable, "-m", "ngrpo", "train", str(CONFIG), "--engine", "verl", "--out", str(folder / "run")]
    command += [part for setting in given for part in ("--set", setting)]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            status = process.wait(timeout)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert status == 0, (folder / "log.txt").read_text(errors="replace")[-4000:]
    files = VerlFiles(folder / "run")
    return files, lines(folder / "trace.jsonl"), [line["data"] for line in lines(files.metrics)]


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
    files, trace, metrics = train(tmp_path, workers=workers, settings=settings)
    assert len(trace) == len(metrics) == 2
    for row, told in zip(trace, metrics, strict=True):
        groups = groups_of(row)
        assert len(groups) == 16
        for rewards, advantages in groups:
            assert len(rewards) == (8 if workers == 1 else 4)
            expected = ngrpo_advantages(torch.tensor([rewards]))[0]
            torch.testing.assert_close(torch.tensor(advantages), expected, atol=1e-6, rtol=0)
            assert min(rewards) < 1
            assert dropped != "all" or max(rewards) == 1
        # The sampler and the trainer agree on every token, after the update of the weights as before.
        assert told["training/rollout_actor_probs_pearson_corr"] > 0.9999
        assert told["training/rollout_probs_diff_max"] < 1e-4
        assert told["actor/grad_norm"] > 1e-3
        assert math.isclose(
            told["critic/score/mean"], sum(sum(r) for r, _ in groups) / sum(len(r) for r, _ in groups), abs_tol=1e-5
        )
        assert told["training/groups/drawn"] - told["training/groups/dropped"] >= 16
        if dropped == "all":
            assert told["training/groups/rounds"] > 1
    assert {path.name for path in files.rollouts.iterdir()} == {"1.jsonl", "2.jsonl"}
    model = files.checkpoints / "global_step_2" / "actor" / "huggingface"
    assert (model / "model.safetensors").is_file()
