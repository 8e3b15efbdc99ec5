"""The trainer: collect groups, make a batch with advantages, take updates, write it down, evaluate, save."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ngrpo.config import Config
from ngrpo.diagnostics import group_shares
from ngrpo.errors import TrainingError
from ngrpo.evaluation.evaluate import EvaluationPlan, evaluate
from ngrpo.methods import PPO, GroupMethod
from ngrpo.models import load_language_model
from ngrpo.runs.announcement import run_facts
from ngrpo.runs.evaluation_results import record_evaluation
from ngrpo.runs.observer import Observer
from ngrpo.runs.run_dir import RunDir
from ngrpo.sampling.samplers import training_sampler
from ngrpo.training.batch import TrainingRow, split_into_updates
from ngrpo.training.checkpoint import TrainerState, load_policy, load_state, save_state
from ngrpo.training.collect import MAX_EMPTY_STEPS, Collected, PromptSource, collect_groups
from ngrpo.training.critic import Critic, CriticUpdater
from ngrpo.training.learner import GroupLearner, Learner, OldLogprobs
from ngrpo.training.metrics import rollout_lines, step_metrics
from ngrpo.training.ppo_learner import PPOLearner
from ngrpo.training.update import PolicyUpdater


class Trainer:
    """One run on this machine.

    Args:
        config: everything that decides the run.
        run: the run folder, already made; with a checkpoint in it, the run goes on from there.
        observer: is told what happens.
    """

    def __init__(self, config: Config, run: RunDir, observer: Observer) -> None:
        self.config, self.run_dir, self.observer = config, run, observer
        self._said: set[str] = set()
        checkpoint = run.latest_checkpoint()
        folder = checkpoint[1] if checkpoint else None
        self.state = load_state(folder) if folder else TrainerState()
        # Problems before the model: a missing file or too few of them is then reported in a moment.
        config.check_trainable()
        self.policy = load_policy(config.model, folder)
        self.source = PromptSource(
            config.task,
            self.policy.tokenizer,
            seed=config.run.seed,
            max_prompt_tokens=config.sampling.max_prompt_tokens,
        )
        self.source.cursor = self.state.cursor
        self.sampler = training_sampler(config, self.policy)
        self.learner = self._learner()
        if folder:
            self.learner.load(folder)
        run.truncate_after(self.state.step)  # last, so that a checkpoint that cannot be used changes nothing

    def train(self) -> None:
        """Takes the steps that are left.

        Raises:
            TrainingError: when it cannot go on; what was finished before is on disk.
        """
        steps = self.config.run.steps
        self.observer.on_start(
            [*run_facts(self.config), *self.policy.facts], first_step=self.state.step + 1, last_step=steps
        )
        if self.state.step == 0 and self.config.evaluation.every:
            self.evaluate()
        while self.state.step < steps:
            self.step(self.state.step + 1)
            if self._due(self.config.evaluation.every):
                self.evaluate()
            if self._due(self.config.run.save_every) or self.state.step == steps:
                self.save()

    def step(self, step: int) -> None:
        """Takes one step: collect groups, make a batch with advantages of them, take updates, write metrics."""
        started = time.perf_counter()
        collected = collect_groups(
            self.sampler,
            self.source,
            self.config.task,
            self.config.method,
            self.config.sampling,
            seed=self.config.run.seed,
            step=step,
        )
        self._check_collected(collected, step)
        updating = time.perf_counter()
        batch = self.learner.make_batch(collected.batch)
        learned = batch.metrics | self.learner.take_updates(self._updates(batch.rows, step), step=step)
        self.sampler.update_weights()
        ended = time.perf_counter()
        self.state.advance(
            step,
            sampled=collected.rollouts_sampled,
            trained=collected.rollouts_trained,
            updates=int(learned["update/count"]),
        )
        self.state.cursor = self.source.cursor
        metrics = step_metrics(collected, batch.advantages, self.config.method) | self.state.totals() | learned
        metrics |= {"update/lr": self.learner.updater.learning_rate(step)}
        metrics |= {
            "time/sample_seconds": collected.sample_seconds,
            "time/grade_seconds": collected.grade_seconds,
            "time/update_seconds": ended - updating,
            "time/step_seconds": ended - started,
            "time/tokens_per_second": metrics["completion/tokens"] / (ended - started),
        }
        self._record(step, collected, batch.advantages, metrics)

    def evaluate(self) -> None:
        """Evaluates the policy as it is on every task, into eval/STEP/TASK."""
        step = self.state.step
        plan = EvaluationPlan.of(self.config, f"evaluation {step}")
        for task in self.config.evaluation_tasks():
            evaluation = evaluate(
                self.sampler,
                self.policy.tokenizer,
                task,
                plan,
                self.run_dir.evaluation_dir(step, task.slug) / "samples.jsonl",
                on_progress=partial(self.observer.on_evaluation_progress, task.slug),
            )
            record_evaluation(self.run_dir, self.observer, step, task, plan, evaluation)

    def save(self) -> Path:
        """Writes a checkpoint of the state as it is and returns its folder."""
        with self.run_dir.new_checkpoint(self.state.step) as folder:
            self.learner.save(folder)
            save_state(folder, self.state)
        return self.run_dir.checkpoint_path(self.state.step)

    def _learner(self) -> Learner[Any]:
        config, method = self.config, self.config.method
        separate = method.needs_reference and config.model.lora is None  # else the adapters are switched off
        updater = PolicyUpdater(
            self.policy,
            load_language_model(config.model, for_training=False) if separate else None,
            method,
            config.optimizer,
            temperature=config.sampling.temperature,
            max_completion_tokens=config.sampling.max_completion_tokens,
        )
        old_logprobs = self._old_logprobs()
        if isinstance(method, GroupMethod):
            return GroupLearner(updater, method, old_logprobs)
        if isinstance(method, PPO):
            shared = method.critic == "shared"
            critic = Critic(self.policy, shared=True) if shared else Critic.separate(config.model)
            critic_updater = CriticUpdater(critic, method, config.optimizer)
            return PPOLearner(updater, critic_updater, method, old_logprobs)
        raise TypeError(f"method '{method.name}' has no learner: it must be a GroupMethod or PPO")

    def _old_logprobs(self) -> OldLogprobs:
        sampling = self.config.sampling
        # With other kernels, the same tokens have other logprobs.
        exact = sampling.kind.exact_logprobs and self.policy.dtype == torch.float32 and sampling.top_p == 1.0
        recompute = sampling.old_logprobs == "recompute" or (sampling.old_logprobs == "auto" and not exact)
        return OldLogprobs(recompute, sampling.importance_cap)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.state.step % every == 0 or self.state.step == self.config.run.steps)

    def _updates(self, rows: Sequence[Sequence[TrainingRow]], step: int) -> list[list[TrainingRow]]:
        settings = self.config.optimizer
        return split_into_updates(
            rows,
            updates=settings.updates_per_step,
            passes=settings.passes_per_step,
            seed=self.config.run.seed,
            step=step,
        )

    def _check_collected(self, collected: Collected, step: int) -> None:
        ungraded = int((~collected.sampled.valid).sum())
        if ungraded > self.config.run.max_ungraded_share * collected.rollouts_sampled:
            raise TrainingError(
                f"step {step}: {ungraded} of {collected.rollouts_sampled} completions could not be graded "
                f"({collected.sampled.ungraded_reason() or 'no reason given'}): a fault of the grader, not of the "
                "model (limit: [run] max_ungraded_share)"
            )
        self._report_missing(collected, step)
        self.state.empty_steps = 0 if len(collected.batch) else self.state.empty_steps + 1
        if self.state.empty_steps >= MAX_EMPTY_STEPS:
            last = collected.sampled
            shares = group_shares(last.rewards, max_reward=self.config.method.max_reward, valid=last.valid)
            raise TrainingError(
                f"{self.state.empty_steps} steps in a row had no group to train on: filter "
                f"'{self.config.method.filter}' dropped every one; the last were {shares.all_wrong:.0%} all-wrong, "
                f"{shares.all_correct:.0%} all-correct, {shares.mixed:.0%} mixed, {shares.ungraded:.0%} ungraded"
            )

    def _report_missing(self, collected: Collected, step: int) -> None:
        """Says, the first time for each reason, that the batch is not full; batch/groups has it for every step."""
        sampling = self.config.sampling
        wanted, batch = sampling.problems_per_step, len(collected.batch)
        if collected.overlong:
            self._say_once(
                "overlong",
                f"step {step}: {collected.overlong} problems left out, their prompts are longer than "
                f"{sampling.max_prompt_tokens} tokens ([sampling] max_prompt_tokens)",
            )
        if batch == wanted or not (self.config.method.refill or collected.no_problem_left):
            return
        why = "no problem is left" if collected.no_problem_left else "[method] max_refill_factor is reached"
        self._say_once(
            why,
            f"step {step}: {batch} of {wanted} groups after sampling {len(collected.sampled)} problems: filter "
            f"'{self.config.method.filter}' dropped the others, and {why}",
        )

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.observer.on_message(f"{text} (shown once per run)")

    def _record(self, step: int, collected: Collected, advantages: Tensor, metrics: dict[str, Any]) -> None:
        if self.config.run.keep_rollouts:
            self.run_dir.append_rollouts(rollout_lines(step, collected, advantages))
        self.run_dir.append_metrics({"step": step, **metrics})
        self.observer.on_step(step, metrics)
