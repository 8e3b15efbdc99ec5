"""The trainer: collect groups, make a batch with advantages, take updates, write it down, evaluate, save."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ngrpo.config import Config
from ngrpo.errors import StoppedError
from ngrpo.evaluation.evaluate import EvaluationPlan, evaluate
from ngrpo.methods import PPO, GroupMethod
from ngrpo.models import load_language_model
from ngrpo.runs.announcement import run_facts
from ngrpo.runs.evaluation_results import record_evaluation
from ngrpo.runs.observer import Observer
from ngrpo.runs.opening import missing_evaluations, pin_revision, resume_command, set_aside_after, sound_checkpoint
from ngrpo.runs.run_dir import RunDir
from ngrpo.runs.termination import StopRequested, StopSignals
from ngrpo.sampling.samplers import training_sampler
from ngrpo.training.all_wrong_warning import all_wrong_warning
from ngrpo.training.allocator import keep_freed_memory
from ngrpo.training.batch import TrainingRow, split_into_updates
from ngrpo.training.checkpoint import load_policy, load_state, save_state
from ngrpo.training.collect import Collected, PromptSource, collect_groups, decoding_of
from ngrpo.training.critic import Critic, CriticUpdater
from ngrpo.training.learner import GroupLearner, Learner, OldLogprobs, without_truncated
from ngrpo.training.metrics import TrainerState, rollout_lines, step_metrics
from ngrpo.training.ppo_learner import PPOLearner
from ngrpo.training.rollout_journal import JournaledSampler
from ngrpo.training.tripwires import Tripwires
from ngrpo.training.update import PolicyUpdater


class Trainer:
    """One run on this machine.

    Args:
        config: everything that decides the run.
        run: the run folder, already made; with a checkpoint in it, the run goes on from there.
        observer: is told what happens.
        stop: notes the signals that ask for the end; none by default.

    Raises:
        NgrpoError: for a model, data or a checkpoint that cannot be used; the folder is then as it was.
    """

    def __init__(self, config: Config, run: RunDir, observer: Observer, stop: StopSignals | None = None) -> None:
        self.config, self.run_dir, self.observer, self.stop = config, run, observer, stop or StopSignals()
        self._said: set[str] = set()
        keep_freed_memory()
        checkpoint = sound_checkpoint(run, observer.on_message)
        folder = checkpoint[1] if checkpoint else None
        self._saved_step, self._saved_at = checkpoint[0] if checkpoint else 0, time.monotonic()
        self.state = load_state(folder) if folder else TrainerState()
        # Problems before the model: a missing file or too few of them is then reported in a moment.
        config.check_trainable()
        self.policy = load_policy(config.model, folder)
        if folder is None:
            pin_revision(run, self.policy.hub_commit)
        self.source = PromptSource(
            config.task,
            self.policy.tokenizer,
            seed=config.run.seed,
            max_prompt_tokens=config.sampling.max_prompt_tokens,
        )
        self.source.cursor = self.state.cursor
        self.sampler = training_sampler(config, self.policy, observer.on_message)
        self.learner = self._learner()
        for updater in self.learner.updaters:
            updater.budget.on_message = observer.on_message
            updater.stops_when_not_finite = "not_finite" in config.run.tripwires
        if folder:
            self.learner.load(folder)
            run.check_logs(folder, rollouts=config.run.keep_rollouts)
        # Last, so that a checkpoint that cannot be used changes nothing.
        run.truncate_after(self.state.step)
        set_aside_after(run, self.state.step)
        self.step_sampler = self.sampler
        if config.run.journal:
            self.step_sampler = JournaledSampler(self.sampler, run.journal_path, step=self.state.step + 1)
        self.tripwires = Tripwires(config, run.read_metrics(), self.policy.vocabulary_size)

    def train(self) -> None:
        """Takes the steps that are left.

        Raises:
            TrainingError: when it cannot go on; what was finished before is on disk.
            StoppedError: after a signal, with a checkpoint of the last whole step.
        """
        try:
            self._train()
        except StopRequested:
            raise self._stopped() from None
        self.run_dir.journal_path.unlink(missing_ok=True)

    def _train(self) -> None:
        steps = self.config.run.steps
        self.observer.on_start(
            [*run_facts(self.config), *self.policy.facts], first_step=self.state.step + 1, last_step=steps
        )
        self._evaluate_if_due()
        while self.state.step < steps:
            self.step(self.state.step + 1)
            self.stop.check()
            if self._is_kept_step() or self._save_minutes_are_over():
                self.save()
            self._evaluate_if_due()

    def step(self, step: int) -> None:
        """Takes one step: collect groups, make a batch with advantages of them, take updates, write metrics."""
        started = time.perf_counter()
        with self.stop.interruptible():
            collected = collect_groups(
                self.step_sampler,
                self.source,
                self.config.task,
                self.config.method,
                self.config.sampling,
                seed=self.config.run.seed,
                step=step,
            )
            empty_steps = self._checked_empty_steps(collected, step)
            updating = time.perf_counter()
            batch = self.learner.make_batch(collected.batch)
        rows = batch.rows
        if self.config.sampling.truncated == "masked":
            rows = without_truncated(rows, collected.batch)
        learned = batch.metrics | self.learner.take_updates(self._updates(rows, step), step=step)
        self.sampler.update_weights()
        ended = time.perf_counter()
        self.state.advance(
            step,
            sampled=collected.rollouts_sampled,
            trained=sum(map(len, rows)),
            updates=int(learned["update/count"]),
        )
        self.state.cursor, self.state.empty_steps = self.source.cursor, empty_steps
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
        missing = missing_evaluations(self.run_dir, self.config, step)
        plan = EvaluationPlan.of(self.config, f"evaluation {step}")
        for task in (task for task in self.config.evaluation_tasks() if task.slug in missing):
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
        step = self.state.step
        with self.run_dir.new_checkpoint(step, kept=self._is_kept_step()) as folder:
            self.learner.save(folder)
            save_state(folder, self.state)
        self._saved_step, self._saved_at = step, time.monotonic()
        self._prune()
        return self.run_dir.checkpoint_path(step)

    def _stopped(self) -> StoppedError:
        """Saves the last whole step after a signal, and returns the error that ends the run."""
        number = self.stop.requested or signal.SIGTERM
        if self.state.step > self._saved_step:
            self.save()
        done = f"after step {self.state.step}" if self.state.step else "before the end of step 1"
        return StoppedError(
            f"stopped by {signal.Signals(number).name} {done}; continue with: {resume_command(self.run_dir)}", number
        )

    def _prune(self) -> None:
        keep = self.config.run.keep_checkpoints
        self.run_dir.prune_checkpoints(keep, self._best_step() if keep else None)

    def _best_step(self) -> int | None:
        """Returns the step with the best mean AUC over the tasks, the earliest of equals; None without evaluations."""
        scores: dict[int, list[float]] = {}
        steps = {step for step, _ in self.run_dir.checkpoints()}
        for found in self.run_dir.read_summaries():
            if found.step in steps and found.summary.get("auc") is not None:
                scores.setdefault(found.step, []).append(found.summary["auc"])
        return max(scores, key=lambda step: (sum(scores[step]) / len(scores[step]), -step), default=None)

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
        exact = sampling.kind.exact_logprobs and self.policy.dtype == torch.float32
        recompute = sampling.old_logprobs == "recompute" or (sampling.old_logprobs == "auto" and not exact)
        return OldLogprobs(recompute, sampling.importance_cap, decoding_of(sampling).truncation)

    def _evaluate_if_due(self) -> None:
        every, step = self.config.evaluation.every, self.state.step
        if every > 0 and (step % every == 0 or step == self.config.run.steps):
            with self.stop.interruptible():
                self.evaluate()
            self._prune()

    def _is_kept_step(self) -> bool:
        every, step = self.config.run.save_every, self.state.step
        return step == self.config.run.steps or (every > 0 and step % every == 0)

    def _save_minutes_are_over(self) -> bool:
        minutes = self.config.run.save_minutes
        return minutes > 0 and time.monotonic() - self._saved_at >= 60 * minutes

    def _checked_empty_steps(self, collected: Collected, step: int) -> int:
        """Returns how many steps in a row had no group to train on; the state is unchanged until the step is over."""
        self.tripwires.check_collected(collected, step)
        self._report_missing(collected, step)
        empty_steps = 0 if len(collected.batch) else self.state.empty_steps + 1
        self.tripwires.check_empty_steps(empty_steps, collected)
        return empty_steps

    def _updates(self, rows: Sequence[Sequence[TrainingRow]], step: int) -> list[list[TrainingRow]]:
        settings = self.config.optimizer
        return split_into_updates(
            rows,
            updates=settings.updates_per_step,
            passes=settings.passes_per_step,
            seed=self.config.run.seed,
            step=step,
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
        if line := all_wrong_warning(self.config.method, self.config.sampling.group_size, step, metrics):
            self._say_once("all_wrong", line)
        self.observer.on_step(step, metrics)
        self.tripwires.check_metrics(step, metrics)
