"""What the tests of training share: small configs, scripted groups, rows for the shipped model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from ngrpo.choices import Split
from ngrpo.config import Config, ModelSettings, OptimizerSettings, apply_overrides, config_of
from ngrpo.methods import load_method
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.runs.observer import Observer
from ngrpo.runs.run_dir import RunDir
from ngrpo.sampling import Decoding, Request
from ngrpo.tasks.task import Task
from ngrpo.training.batch import TrainingRow
from ngrpo.training.update import PolicyUpdater
from ngrpo.types import Completion, Grade, Problem

MODEL = "builtin:countdown-base"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_config(*overrides: str) -> Config:
    """Returns a run of 3 steps of 8 problems x 4 completions of the shipped model, changed by `overrides`."""
    tables: dict[str, Any] = {
        "model": {"path": MODEL, "dtype": "float32", "device": "cpu"},
        "task": {"name": "countdown", "train_size": 100, "test_size": 8},
        "method": {"entropy_bonus": 0.0},
        "sampling": {
            "problems_per_step": 8,
            "group_size": 4,
            "max_prompt_tokens": 32,
            "max_completion_tokens": 8,
        },
        "optimizer": {"lr": 1e-4},
        "evaluation": {"samples": 2, "max_completion_tokens": 8},
        "run": {"name": "small", "steps": 3},
    }
    apply_overrides(tables, overrides)
    return config_of(tables)


@pytest.fixture(name="small_config", scope="session")
def _small_config() -> Callable[..., Config]:
    return small_config


class Listener(Observer):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.facts: list[str] = []
        self.steps: list[int] = []
        self.messages: list[str] = []
        self.evaluations: list[tuple[int, str]] = []
        self.first_step = 0

    def on_start(self, facts: Sequence[str], *, first_step: int, last_step: int) -> None:
        self.facts, self.first_step = list(facts), first_step

    def on_step(self, step: int, metrics: Any) -> None:
        self.steps.append(step)

    def on_evaluation(self, step: int, task: str, summary: Any) -> None:
        self.evaluations.append((step, task))

    def on_message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def train() -> Callable[..., RunDir]:
    """Trains in a folder, or goes on there, and returns the run folder."""
    from ngrpo.training.trainer import Trainer

    def run(folder: Path, config: Config, observer: Observer | None = None) -> RunDir:
        exists = folder.exists()
        run_dir = RunDir.open(folder) if exists else RunDir.create(folder, config.to_json(), seed=config.run.seed)
        Trainer(config, run_dir, observer or Observer()).train()
        return run_dir

    return run


class ScriptedTask(Task):
    """Problem i is of the kind `kinds[i % len(kinds)]`: what its completions get, by sample.

    w all wrong, c all correct, m only sample 0 correct, u all ungraded, 1 only sample 0 graded, h sample 0 ungraded
    and sample 1 correct. The question of problem i has `words[i % len(words)]` words.
    """

    label: ClassVar[str] = "scripted"
    name: Literal["scripted"] = "scripted"
    kinds: str = "m"
    size: int = 20
    words: tuple[int, ...] = (3,)

    def load_problems(self, split: Split) -> list[Problem]:
        return [
            Problem(f"p{i}", " ".join(["x"] * self.words[i % len(self.words)]), "", metadata={"i": i})
            for i in range(self.size)
        ]

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return [self._grade(problem.metadata["i"], int(text)) for problem, text in answers]

    def _grade(self, i: int, sample: int) -> Grade:
        kind = self.kinds[i % len(self.kinds)]
        if kind == "u" or (kind == "1" and sample) or (kind == "h" and sample == 0):
            return Grade("ungraded", 0.0, None, "time limit")
        correct = kind == "c" or (kind == "m" and sample == 0) or (kind == "h" and sample == 1)
        return Grade("correct", 1.0, "1") if correct else Grade("wrong", 0.0, "0")


class ScriptedSampler:
    """Each completion's text is its sample index; sample i has 2 + i tokens."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], int, str]] = []

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        self.calls.append((list(dict.fromkeys(prompt.problem.id for prompt, _ in requests)), seed, round_name))
        for index, (_, i) in enumerate(requests):
            tokens, logprobs = np.full(2 + i, 5), np.full(2 + i, -0.5, dtype=np.float32)
            yield index, Completion(str(i), tokens, logprobs, "stop" if i else "length")


class Words:
    """A tokenizer with a token per word."""

    chat_template = None
    eos_token_id = None

    def encode(self, text: str) -> list[int]:
        return list(range(1, len(text.split()) + 1))


@pytest.fixture(scope="session")
def scripted() -> Callable[..., ScriptedTask]:
    return lambda **settings: ScriptedTask(**settings)


@pytest.fixture
def sampler() -> ScriptedSampler:
    return ScriptedSampler()


@pytest.fixture(scope="session")
def words() -> Words:
    return Words()


def policy(**settings: Any) -> LanguageModel:
    table = {"path": MODEL, "dtype": "float32", "device": "cpu", **settings}
    return load_language_model(ModelSettings.parse(table), for_training=True)


@pytest.fixture(scope="session")
def load_base() -> Callable[..., LanguageModel]:
    return policy


@pytest.fixture(scope="session")
def make_updater() -> Callable[..., PolicyUpdater]:
    """An updater of the shipped model: method table, [optimizer] settings, and what else the test sets."""

    def make(
        method: dict[str, Any],
        *,
        lm: LanguageModel | None = None,
        reference: LanguageModel | None = None,
        temperature: float = 1.0,
        **optimizer: Any,
    ) -> PolicyUpdater:
        return PolicyUpdater(
            lm or policy(),
            reference,
            load_method({"entropy_bonus": 0.0, **method}),
            OptimizerSettings.parse({"lr": 1e-4, **optimizer}),
            temperature=temperature,
            max_completion_tokens=8,
        )

    return make


@pytest.fixture
def random_rows() -> list[TrainingRow]:
    """24 rows of prompts and completions of all lengths, a third of them with advantage 0, far enough from the
    policy for clipping."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        length = int(rng.integers(1, 9))
        rows.append(
            TrainingRow(
                rng.integers(2, 60, size=int(rng.integers(1, 8))),
                rng.integers(2, 60, size=length),
                rng.normal(-4.0, 2.0, size=length).astype(np.float32),
                np.full(length, 0.0 if i % 3 == 0 else rng.normal(), dtype=np.float32),
            )
        )
    return rows
