"""What verl has done so far, brought into our run folder: metrics, rollouts, evaluations, checkpoints.

Our process is the only one that writes them, beside verl as it runs: a run on a cluster is then a run folder like any
other, and whoever watches a run hears of it step by step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.engines.verl.checkpoints import take_checkpoints
from ngrpo.engines.verl.records import StepRecord, read_evaluated
from ngrpo.engines.verl.rollout_rows import missing_rollout
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.engines.verl.verl_metrics import learned_metrics
from ngrpo.errors import CheckpointError
from ngrpo.evaluation.evaluate import EvaluationPlan, evaluation_of, problems_of
from ngrpo.evaluation.samples.sample import sample_of
from ngrpo.runs.evaluation_results import record_evaluation
from ngrpo.storage import atomic_file, json_line
from ngrpo.training.metrics import TrainerState

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.runs.observer import Observer
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.tasks import Task


class Results:
    """Follows verl's own metrics file; a step is taken over when its line is there.

    Args:
        config: the run's config.
        run: our run folder, verl's below it.
        observer: is told of every step and evaluation.
    """

    def __init__(self, config: Config, run: RunDir, observer: Observer) -> None:
        self._config, self._run, self._observer = config, run, observer
        self._files = VerlFiles(run.path)
        self._place = 0
        self._state = _state_of(run)

    @property
    def step(self) -> int:
        """The last step that is in the run folder."""
        return self._state.step

    def take_over(self) -> None:
        """Brings what is new into the run folder."""
        for step, told in self._new_lines():
            if self._files.step(step).is_file():
                self._take_step(step, told)
            if (sampled := self._files.evaluations / f"{step:06d}").is_dir():
                self._take_evaluations(step)
                shutil.rmtree(sampled)
        take_checkpoints(self._config, self._run)

    def prepare_resume(self) -> None:
        """Makes the run folder that of verl's newest checkpoint, from which verl will go on.

        Raises:
            CheckpointError: when verl has saved none.
            ConfigError: when all steps are taken.
        """
        self.take_over()  # what verl had finished when whoever followed it was ended
        last = self._files.newest_step
        if last == 0:
            raise CheckpointError(
                f"{self._run.path} has no checkpoint of verl to resume from: start a new run with another --out"
            )
        self._config.run.check_steps_left(self._run.path, last)
        if self._files.step(last).is_file():  # saved, and then ended before it was in verl's metrics
            self._take_step(last, {})
        self._run.truncate_after(last)
        for leftover in (self._files.steps, self._files.evaluations):
            shutil.rmtree(leftover, ignore_errors=True)
        self._files.metrics.unlink(missing_ok=True)  # verl begins it anew
        self._place, self._state = 0, _state_of(self._run)

    def _new_lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if not self._files.metrics.is_file():
            return
        with self._files.metrics.open("rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._place += len(line)
                told = json.loads(line)
                yield told["step"], told["data"]

    def _take_step(self, step: int, told: dict[str, Any]) -> None:
        path = self._files.step(step)
        if step <= self._state.step:  # ended between taking it over and removing it
            path.unlink()
            return
        record = StepRecord.read(path)
        sampled = record.metrics
        learned = learned_metrics(
            self._config,
            told,
            step=step,
            groups=sampled["batch/groups"],
            rows=record.rollouts_trained,
            tokens=sampled["completion/tokens"],
        )
        self._state.advance(
            step,
            sampled=record.rollouts_sampled,
            tokens=int(sampled["completion/tokens"]),
            trained=record.rollouts_trained,
            updates=int(learned["update/count"]),
        )
        metrics = sampled | self._state.totals() | learned
        if self._config.run.keep_rollouts:
            self._run.append_rollouts(record.rollouts)
        self._run.append_metrics({"step": step, **metrics})
        path.unlink()
        if told:
            self._observer.on_step(step, metrics)

    def _take_evaluations(self, step: int) -> None:
        plan = EvaluationPlan.of(self._config, f"evaluation {step}")
        for task in self._config.evaluation_tasks():
            path = self._run.evaluation_dir(step, task.slug) / "samples.jsonl"
            if missing := self._write_samples(step, task, plan, path):
                self._observer.on_message(
                    f"step {step}: {missing} completions for {task.slug} never came from verl (a prompt longer than "
                    "[sampling] max_prompt_tokens, or a failed worker); they count as ungraded"
                )
            record_evaluation(self._run, self._observer, step, task, plan, evaluation_of(path))

    def _write_samples(self, step: int, task: Task, plan: EvaluationPlan, path: Path) -> int:
        """Writes the samples file in the order of the problems and returns how many completions never came."""
        sampled = {(s.problem_id, s.sample): s for s in read_evaluated(self._files.evaluated(step, task.slug))}
        missing = 0
        with atomic_file(path) as file:
            for problem in problems_of(task, plan):
                for number in range(plan.samples):
                    sample = sampled.get((problem.id, number))
                    if sample is None or sample.num_tokens == 0:
                        missing += 1
                        sample = sample_of(missing_rollout(problem, number), seed=plan.seed)
                    file.write(json_line(sample.to_line()))
        return missing


def _state_of(run: RunDir) -> TrainerState:
    """Returns the totals that a run folder's last line of metrics has."""
    lines = run.read_metrics()
    if not lines:
        return TrainerState()
    last = lines[-1]
    return TrainerState(
        step=last["step"],
        rollouts_sampled=last["total/rollouts_sampled"],
        tokens_sampled=last["total/tokens_sampled"],
        rollouts_trained=last["total/rollouts_trained"],
        updates=last["total/updates"],
    )
