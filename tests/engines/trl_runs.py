"""Short runs of a real TRL with the shipped model, which remember their rewards, rows and gradients."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback

pytest.importorskip("trl")

from trl import GRPOTrainer

from ngrpo.adapters.trl import NGRPOTrainer
from ngrpo.filters import kept_groups
from ngrpo.models.paths import resolve_model_path
from ngrpo.tasks import load_task

ROOT = str(Path(__file__).parents[2])
OFFLINE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
MODEL = resolve_model_path("builtin:countdown-base")
TASK = load_task({"name": "countdown"})
PROBLEMS = TASK.problems("train")[:96]
PROMPTS = [TASK.prompt.format(question=problem.question) for problem in PROBLEMS]
SIZE = 8


class Reward:
    """Our grader as a reward function that remembers what it was asked; `ungraded` in a hundred get None."""

    __name__ = "countdown"

    def __init__(self, ungraded: int = 0, solve: bool = False) -> None:
        self.ungraded, self.solve = ungraded, solve
        self.seen: list[tuple[str, tuple[int, ...], float | None]] = []

    def __call__(self, prompts: Any, completions: Any, completion_ids: Any, problem: Any, **_: Any) -> Any:
        grades = TASK.grade_many([(PROBLEMS[i], text) for i, text in zip(problem, completions, strict=True)])
        rewards = [self._reward(i, ids, g.reward) for i, ids, g in zip(problem, completion_ids, grades, strict=True)]
        self.seen += [(p, _key(ids), r) for p, ids, r in zip(prompts, completion_ids, rewards, strict=True)]
        return rewards

    def _reward(self, problem: int, ids: Any, reward: float) -> float | None:
        if self.solve and problem % 3 == 0:
            return 1.0  # groups of correct completions alone, which the shipped model would not give
        return None if sum(ids) * 37 % 100 < self.ungraded else reward


def _key(ids: Any) -> tuple[int, ...]:
    return tuple(int(token) for token in ids if int(token) != 0)  # 0 is padding


class Traced:
    """Remembers what reaches the loss, row by row, and the number of tokens that it is divided by."""

    rows: list[tuple[str, tuple[int, ...], float, bool]]
    tokens: list[tuple[int, int]]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        decode = self.processing_class.decode
        for prompt, ids, advantage, mask in zip(
            inputs["prompt_ids"], inputs["completion_ids"], inputs["advantages"], inputs["completion_mask"], strict=True
        ):
            text = decode(prompt, skip_special_tokens=True)
            self.rows.append((text, _key(ids), float(advantage), bool(mask.any())))
        self.tokens.append((int(inputs["completion_mask"].sum()), int(inputs["num_items_in_batch"])))
        return super().compute_loss(model, inputs, *args, **kwargs)


class Ours(Traced, NGRPOTrainer):
    pass


class Theirs(Traced, GRPOTrainer):
    pass


class Gradients(TrainerCallback):
    """The gradient of each update, before it is clipped."""

    def __init__(self) -> None:
        self.updates: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.updates.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Five updates on two generations; bf16 is TRL's default, also on a CPU."""
    given = {
        "output_dir": str(folder),
        "max_steps": 5,
        "per_device_train_batch_size": 32,
        "num_generations": SIZE,
        "max_completion_length": 12,
        "learning_rate": 1e-3,
        "max_grad_norm": 1e9,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return {**given, **changes}


def trainer(kind: type, config: Any, reward: Any, **kwargs: Any) -> Any:
    data = Dataset.from_list([{"prompt": prompt, "problem": i} for i, prompt in enumerate(PROMPTS)])
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    made = kind(MODEL, reward, config, train_dataset=data, processing_class=tokenizer, **kwargs)
    made.rows, made.tokens = [], []
    return made


def expected(method: Any, seen: list[Any]) -> dict[tuple[str, tuple[int, ...]], tuple[float, bool]]:
    """Advantage and whether it enters the loss, by prompt and completion: ours, straight from the rewards."""
    given = [float("nan") if reward is None else reward for _, _, reward in seen]
    rewards = torch.tensor(given).view(-1, SIZE)
    valid = ~rewards.isnan()
    kept = valid & kept_groups(rewards, filter=method.filter, valid=valid)[:, None]
    advantages = method.advantages(rewards, valid) * kept
    values = zip(advantages.flatten().tolist(), kept.flatten().tolist(), strict=True)
    return {(prompt, ids): value for (prompt, ids, _), value in zip(seen, values, strict=True)}


def check_rows(method: Any, seen: list[Any], rows: list[Any]) -> None:
    """Every row that reached the loss has our advantage to the bit, and only kept ones have tokens in it."""
    ours = expected(method, seen)
    assert len({(prompt, tuple(ids)) for prompt, ids, *_ in rows}) > 50
    for prompt, ids, advantage, in_loss in rows:
        assert (advantage, in_loss) == ours[prompt, tuple(ids)]


def finished(command: list[str], folder: Path, seconds: float, env: dict[str, str]) -> None:
    """Runs a command to its end, within so many seconds of processor time, and fails with the end of what it printed.

    Wall-clock time has no bound, for it depends on what else the machine does; but a command whose processes use no
    processor for five minutes hangs.
    """
    printed = folder / "printed.txt"
    with printed.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env)
    spent, last, since = 0.0, 0.0, time.monotonic()
    try:
        while process.poll() is None:
            spent = max(spent, _processor_seconds(process.pid))
            if spent > last + 0.5:
                last, since = spent, time.monotonic()
            assert spent < seconds, f"{spent} s of processor time: {printed.read_text()[-3000:]}"
            assert time.monotonic() < since + 300, f"hangs after {spent} s: {printed.read_text()[-3000:]}"
            time.sleep(0.2)
    finally:
        for child in _tree(process.pid):
            child.kill()
        process.wait()
    assert process.returncode == 0, printed.read_text()[-9000:]  # the launcher's own traceback is long


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _processor_seconds(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
