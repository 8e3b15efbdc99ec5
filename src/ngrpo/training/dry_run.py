"""What a run will take, from one step that is taken and thrown away (`ngrpo train --dry-run`)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ngrpo.config import Config, RunSettings
from ngrpo.evaluation.evaluate import EvaluationPlan, problems_of
from ngrpo.models import LanguageModel
from ngrpo.runs.checks import check_before_loading
from ngrpo.runs.training_problems import training_problems
from ngrpo.sampling.samplers import training_sampler
from ngrpo.training.batch import split_into_updates
from ngrpo.training.checkpoint import load_policy
from ngrpo.training.collect import Collected, collect_groups
from ngrpo.training.device_memory import DeviceMemory
from ngrpo.training.learner import Learner
from ngrpo.training.learner_choice import learner_of
from ngrpo.training.prompt_source import PromptSource

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Parameters, and bytes of what training keeps; the reference is a second model, the critic's trunk a third."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    moments: int
    reference: int

    @classmethod
    def of(cls, policy: LanguageModel, learner: Learner[Any]) -> ModelSize:
        """Returns the sizes after an update, when the optimiser has its moments."""
        trained = [p for updater in learner.updaters for p in updater.parameters.values()]
        own = {id(parameter): parameter for parameter in [*policy.plain.parameters(), *trained]}
        moments = [v for u in learner.updaters for state in u.optimizer.state.values() for v in state.values()]
        reference = learner.updater.reference
        return cls(
            parameters=sum(parameter.numel() for parameter in own.values()),
            trained=sum(parameter.numel() for parameter in trained),
            weights=_bytes(own.values()),
            gradients=_bytes(trained),
            moments=_bytes(v for v in moments if isinstance(v, Tensor)),
            reference=_bytes(reference.plain.parameters()) if reference else 0,
        )


@dataclass(frozen=True, slots=True)
class DryRun:
    """What one step took, and what the run would; bytes and seconds.

    `evaluation_seconds` is of all evaluations, with completions as long as those of the step.
    """

    size: ModelSize
    device: str
    peak: int
    limit: int
    completions: int
    tokens: int
    updates: int
    rows: int
    sample_seconds: float
    grade_seconds: float
    update_seconds: float
    steps: int
    evaluations: int
    evaluation_completions: int
    evaluation_seconds: float

    @property
    def step_seconds(self) -> float:
        """Seconds of a step."""
        return self.sample_seconds + self.grade_seconds + self.update_seconds

    @property
    def total_seconds(self) -> float:
        """Seconds of the run."""
        return self.steps * self.step_seconds + self.evaluation_seconds

    @property
    def lines(self) -> list[str]:
        """Lines for a person."""
        size = self.size
        kept = {"weights": size.weights, "gradients": size.gradients, "AdamW's moments": size.moments}
        kept |= {"reference model": size.reference} if size.reference else {}
        evaluations = (
            f"; {self.evaluations} evaluations, {self.evaluation_completions:,} completions, about "
            f"{_duration(self.evaluation_seconds)}"
        )
        return [
            f"model: {size.parameters:,} parameters, {size.trained:,} trained, on {self.device}",
            f"memory: {', '.join(f'{name} {_gib(value)}' for name, value in kept.items())}; peak of the step "
            f"{_gib(self.peak)} of {_gib(self.limit)}",
            f"step: {self.completions:,} completions, {self.tokens:,} tokens ({self.tokens / self.completions:.1f} "
            f"each), {self.updates} updates with {self.rows:,} rows",
            f"time: {self.sample_seconds:.1f} s sampling, {self.grade_seconds:.1f} s grading, "
            f"{self.update_seconds:.1f} s updates: {self.step_seconds:.1f} s a step",
            f"run: {self.steps} steps, about {_duration(self.steps * self.step_seconds)}"
            f"{evaluations if self.evaluations else ''}; in all about {_duration(self.total_seconds)}",
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns everything as plain values."""
        return asdict(self) | {"step_seconds": self.step_seconds, "total_seconds": self.total_seconds}


def dry_run(config: Config) -> DryRun:
    """Takes the first step of a run and returns what it took; nothing is written.

    Raises:
        NgrpoError: for what the config, the data or the model lack, and when memory does not suffice.
    """
    check_before_loading(config)
    policy = load_policy(config.model, None)
    source = PromptSource(
        config.task,
        policy.tokenizer,
        seed=config.run.seed,
        max_prompt_tokens=config.sampling.max_prompt_tokens,
        problems=training_problems(config),
    )
    sampler, learner = training_sampler(config, policy), learner_of(config, policy)
    memory = DeviceMemory(policy.device)
    memory.reset_peak()
    seed = config.run.seed
    collected = collect_groups(sampler, source, config.task, config.method, config.sampling, seed=seed, step=1)
    started = time.perf_counter()
    learned = _updated(config, learner, collected)
    seconds = time.perf_counter() - started
    tokens = int(collected.sampled.num_tokens.sum())
    steps = _steps(config.run, collected.rollouts_sampled, tokens)
    evaluations, completions = _evaluations(config, steps)
    each = (collected.sample_seconds + collected.grade_seconds) / collected.rollouts_sampled
    return DryRun(
        size=ModelSize.of(policy, learner),
        device=str(policy.device),
        peak=memory.peak(),
        limit=memory.limit,
        completions=collected.rollouts_sampled,
        tokens=tokens,
        updates=int(learned["update/count"]),
        rows=int(learned["update/rows"]),
        sample_seconds=collected.sample_seconds,
        grade_seconds=collected.grade_seconds,
        update_seconds=seconds,
        steps=steps,
        evaluations=evaluations,
        evaluation_completions=evaluations * completions,
        evaluation_seconds=evaluations * completions * each,
    )


def _updated(config: Config, learner: Learner[Any], collected: Collected) -> dict[str, float]:
    settings = config.optimizer
    rows = learner.make_batch(collected.batch).rows
    updates = split_into_updates(
        rows, updates=settings.updates_per_step, passes=settings.passes_per_step, seed=config.run.seed, step=1
    )
    return learner.take_updates(updates, step=1)


def _steps(run: RunSettings, rollouts: int, tokens: int) -> int:
    """Returns how many steps the run takes when all are as large as the first."""
    limits = ((run.max_rollouts, rollouts), (run.max_tokens, tokens))
    return min([run.steps, *(-(-limit // max(1, of_step)) for limit, of_step in limits if limit)])


def _evaluations(config: Config, steps: int) -> tuple[int, int]:
    """Returns how often a run of so many steps evaluates, and the completions of one time."""
    evaluation = config.evaluation
    if not evaluation.in_run:
        return 0, 0
    plan = EvaluationPlan.of(config)
    completions = sum(len(problems_of(task, plan)) for task in config.evaluation_tasks()) * plan.samples
    after_steps = -(-steps // evaluation.every) if evaluation.every else min(evaluation.count, steps)
    return evaluation.at_start + after_steps, completions


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
