"""The trainer: collect groups, make a batch with advantages, take updates, write it down, evaluate, save."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ngrpo.config import Config
from ngrpo.errors import RankError, StoppedError, TrainingError, TrippedError
from ngrpo.evaluation.evaluate import EvaluationPlan, evaluate, requests_of
from ngrpo.runs.announcement import run_facts
from ngrpo.runs.evaluation_results import best_step, record_evaluation
from ngrpo.runs.observer import Observer
from ngrpo.runs.opening import missing_evaluations, pin_revision, resume_command, set_aside_after, sound_checkpoint
from ngrpo.runs.run_dir import RunDir
from ngrpo.runs.termination import StopRequested
from ngrpo.runs.training_problems import training_problems
from ngrpo.sampling.samplers import training_sampler
from ngrpo.tasks import Task
from ngrpo.training.allocator import keep_freed_memory
from ngrpo.training.batch import TrainingRow, split_into_updates
from ngrpo.training.checkpoint import load_policy, load_state, save_state
from ngrpo.training.collect import Collected, collect_groups
from ngrpo.training.learner import without_truncated
from ngrpo.training.learner_choice import learner_of
from ngrpo.training.metrics import TrainerState, rollout_lines, shortfalls, step_metrics
from ngrpo.training.prompt_source import PromptSource
from ngrpo.training.ranks import ALONE, Ranks
from ngrpo.training.rollout_journal import JournaledSampler
from ngrpo.training.spread_sampler import SpreadSampler, sample_for_first_rank
from ngrpo.training.tripwires import Tripwires, all_wrong_warning


class Trainer:
    """One run on this machine.

    Args:
        config: everything that decides the run.
        run: the run folder, already made; with a checkpoint in it, the run goes on from there.
        observer: is told what happens.
        ranks: the processes that share the work, and the signals that ask for the end; one process by default.

    Raises:
        NgrpoError: for a model, data or a checkpoint that cannot be used; the folder is then as it was.
    """

    def __init__(self, config: Config, run: RunDir, observer: Observer, ranks: Ranks = ALONE) -> None:
        self.config, self.run_dir, self.observer, self.ranks = config, run, observer, ranks
        self._said: set[str] = set()
        keep_freed_memory()
        checkpoint = sound_checkpoint(run, observer.on_message)
        folder = checkpoint[1] if checkpoint else None
        self._saved_step, self._saved_at = checkpoint[0] if checkpoint else 0, time.monotonic()
        self.state = load_state(folder) if folder else TrainerState()
        # Problems before the model: a missing file or too few of them is then reported in a moment.
        config.check_trainable()
        self.policy = load_policy(config.model, folder)
        self.source = PromptSource(
            config.task,
            self.policy.tokenizer,
            seed=config.run.seed,
            max_prompt_tokens=config.sampling.max_prompt_tokens,
            problems=training_problems(config),
        )
        self.source.cursor = self.state.cursor
        say = ranks.say(observer.on_message)
        self.sampler = training_sampler(config, self.policy, say)
        self.learner = learner_of(config, self.policy)
        for updater in self.learner.updaters:
            updater.budget.on_message, updater.ranks = say, ranks
            updater.stops_when_not_finite = "not_finite" in config.run.tripwires
        if folder:
            self.learner.load(folder)
            run.check_logs(folder, rollouts=config.run.keep_rollouts)
        # Last, so that a checkpoint that cannot be used changes nothing.
        ranks.first(self._prepare_folder)
        self.step_sampler = self.sampler
        if config.run.journal:
            journal = run.journal_path(ranks.number)
            self.step_sampler = JournaledSampler(self.sampler, journal, step=self.state.step + 1)
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
        self.ranks.first(self.run_dir.remove_journals)

    def _train(self) -> None:
        steps = self.config.run.steps
        self.observer.on_start(
            [*run_facts(self.config), *self.policy.facts], first_step=self.state.step + 1, last_step=steps
        )
        self._evaluate_if_due()
        while not self._is_over():
            parts = self._parts_over(self.config.evaluation.count)
            with self._evaluated_when_tripped():
                self.step(self.state.step + 1)
            self.state.evaluations_due = int(self._parts_over(self.config.evaluation.count) > parts)
            self.ranks.check_stop()
            if self.ranks.first(lambda: self._is_kept_step() or self._save_minutes_are_over()):
                self.save()
            self._evaluate_if_due()

    def step(self, step: int) -> None:
        """Takes one step: collect groups, make a batch with advantages of them, take updates, write metrics."""
        started = time.perf_counter()
        with self.ranks.interruptible():
            collected = collect_groups(
                self.step_sampler,
                self.source,
                self.config.task,
                self.config.method,
                self.config.sampling,
                seed=self.config.run.seed,
                step=step,
                ranks=self.ranks,
            )
            empty_steps = self._checked_empty_steps(collected, step)
            updating = time.perf_counter()
            batch = self.learner.make_batch(collected.batch)
        rows = batch.rows
        if self.config.sampling.truncated == "masked":
            rows = without_truncated(rows, collected.batch)
        learned = batch.metrics | self.learner.take_updates(self._updates(rows, step), step=step)
        self.ranks.check_equal("update/grad_norm", learned["update/grad_norm"])
        self.sampler.update_weights()
        ended = time.perf_counter()
        self.state.advance(
            step,
            sampled=collected.rollouts_sampled,
            tokens=int(collected.sampled.num_tokens.sum()),
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
        if tripped := self.ranks.first(lambda: self._record(step, collected, batch.advantages, metrics)):
            raise TrippedError(tripped)

    def evaluate(self) -> None:
        """Evaluates the policy as it is on every task, into eval/STEP/TASK."""
        step = self.state.step
        missing = self.ranks.first(lambda: missing_evaluations(self.run_dir, self.config, step))
        plan = EvaluationPlan.of(self.config, f"evaluation {step}")
        for task in (task for task in self.config.evaluation_tasks() if task.slug in missing):
            self.ranks.together(partial(self._evaluate, task, plan))

    def save(self) -> Path:
        """Writes a checkpoint of the state as it is and returns its folder."""
        step = self.state.step
        self.ranks.first(self._write_checkpoint)
        self._saved_step, self._saved_at = step, time.monotonic()
        return self.run_dir.checkpoint_path(step)

    def _prepare_folder(self) -> None:
        """Removes from the run folder what is later than the state."""
        if self.state.step == 0:
            pin_revision(self.run_dir, self.policy.hub_commit)
        self.run_dir.truncate_after(self.state.step)
        set_aside_after(self.run_dir, self.state.step)

    def _write_checkpoint(self) -> None:
        with self.run_dir.new_checkpoint(self.state.step, kept=self._is_kept_step()) as folder:
            self.learner.save(folder)
            save_state(folder, self.state)
        self._prune()

    def _evaluate(self, task: Task, plan: EvaluationPlan) -> None:
        step, tokenizer = self.state.step, self.policy.tokenizer
        if not self.ranks.leads:
            sample_for_first_rank(self.sampler, self.ranks, requests_of(task, plan, tokenizer), plan)
            return
        evaluation = evaluate(
            SpreadSampler(self.sampler, self.ranks) if self.ranks.count > 1 else self.sampler,
            tokenizer,
            task,
            plan,
            self.run_dir.evaluation_dir(step, task.slug) / "samples.jsonl",
            on_progress=partial(self.observer.on_evaluation_progress, task.slug),
        )
        record_evaluation(self.run_dir, self.observer, step, task, plan, evaluation)

    def _stopped(self) -> StoppedError:
        """Saves the last whole step after a signal, and returns the error that ends the run."""
        number = self.ranks.stop.requested or signal.SIGTERM
        if self.state.step > self._saved_step:
            self.save()
        done = f"after step {self.state.step}" if self.state.step else "before the end of step 1"
        return StoppedError(
            f"stopped by {signal.Signals(number).name} {done}; continue with: {resume_command(self.run_dir)}", number
        )

    def _prune(self) -> None:
        keep = self.config.run.keep_checkpoints
        self.run_dir.prune_checkpoints(keep, best_step(self.run_dir) if keep else None)

    def _evaluate_if_due(self) -> None:
        evaluation, step = self.config.evaluation, self.state.step
        if step == 0:
            due = evaluation.at_start
        else:
            part_over = step % evaluation.every == 0 if evaluation.every else self.state.evaluations_due > 0
            due = part_over or self._is_over()
        if evaluation.in_run and due:
            with self.ranks.interruptible():
                self.evaluate()
            self.ranks.first(self._prune)

    @contextmanager
    def _evaluated_when_tripped(self) -> Iterator[None]:
        """A trip-wire in the block ends the run; what it ended with is evaluated first, as at the end of any run."""
        try:
            yield
        except TrippedError:
            # One that gives no finite logits any more cannot be; other ranks have that as an error of this one.
            with suppress(TrainingError, RankError), self.ranks.interruptible():
                if self.config.evaluation.in_run:
                    self.evaluate()
            raise

    def _is_kept_step(self) -> bool:
        every, step = self.config.run.save_every, self.state.step
        return self._is_over() or (every > 0 and step % every == 0)

    def _is_over(self) -> bool:
        return self._parts_over(1) == 1

    def _parts_over(self, count: int) -> int:
        state = self.state
        return self.config.run.parts_over(count, state.step, state.rollouts_sampled, state.tokens_sampled)

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
        for reason, line in shortfalls(collected, self.config, step):
            self._say_once(reason, line)

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.observer.on_message(f"{text} (shown once per run)")

    def _record(self, step: int, collected: Collected, advantages: Tensor, metrics: dict[str, Any]) -> str | None:
        """Writes what a step gave; returns why a trip-wire ends the run, None where it goes on."""
        if self.config.run.keep_rollouts:
            self.run_dir.append_rollouts(rollout_lines(step, collected, advantages))
        self.run_dir.append_metrics({"step": step, **metrics})
        if line := all_wrong_warning(self.config.method, self.config.sampling.group_size, step, metrics):
            self._say_once("all_wrong", line)
        self.observer.on_step(step, metrics)
        return self.tripwires.tripped(step, metrics)
