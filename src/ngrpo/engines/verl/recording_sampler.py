"""The groups of a step in a run of ours: sampled by `ngrpo.adapters.verl_sampler`, checked, and written down.

verl loads this module by its name, `trainer.v1.sampler.custom_sampler`; nothing else imports it, for it needs verl.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transfer_queue as tq

from ngrpo.adapters.verl_groups import SampledGroups, uid_of
from ngrpo.adapters.verl_sampler import GroupSampler
from ngrpo.config import load_config
from ngrpo.engines.verl.phases import Phase
from ngrpo.engines.verl.records import append_evaluated
from ngrpo.engines.verl.rollout_rows import FIELDS, groups_of
from ngrpo.engines.verl.steps import check_step, step_record
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.engines.verl.workers import WorkerWatch
from ngrpo.methods import Method
from ngrpo.models import load_tokenizer
from ngrpo.models.paths import resolve_model_path
from ngrpo.sampling.samplers import stop_tokens_at
from ngrpo.training.collect import Collected, GradedGroups
from ngrpo.types import Group


class RunSampler(GroupSampler):
    """A `GroupSampler` by the run's config; what was sampled, evaluations too, goes to `ngrpo.engines.verl.results`."""

    def method_of(self, table: dict[str, Any]) -> Method:
        """Returns the config's method; the table says where the config is."""
        self.config, self.files = load_config(table["config_path"]), VerlFiles.of_config(table["config_path"])
        self.max_ungraded_share = self.config.run.max_ungraded_share
        model = resolve_model_path(self.config.model.path)
        self.tokenizer = load_tokenizer(model, self.config.model.path)
        self.stop_tokens = stop_tokens_at(model, self.tokenizer)
        self.evaluated = ", ".join(task.slug for task in self.config.evaluation_tasks())
        self.sampled_step = -1  # nothing is sampled yet
        Phase("start", "loading the model").write(self.files.phase)
        self.watch = WorkerWatch(self.files.lost, self._on_workers)
        self.watch.begin()  # before any of the workers is there
        return self.config.method

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Returns the rows of a step, or of an evaluation, unfiltered, and nothing of metrics: they are written down.

        Raises:
            TrainingError: when the grader or the sampler is at fault, or no group is left to train on.
        """
        training = partition_id == "train"
        self.sampled_step = global_steps
        if training:
            sampled = self.sampled_groups(partition_id, batch_size)
            self._record_step(global_steps, partition_id, sampled)
            batch = self.kept_rows(partition_id, sampled)
            every = len(sampled.rewards)
            Phase("step", step=global_steps, done=every, total=every).write(self.files.phase)
        else:
            self.wait_until_done(partition_id)
            self._record_evaluation(global_steps, partition_id)
            batch = self.everything(partition_id)
        if global_steps == self.config.run.steps and training != bool(self.config.evaluation.every):
            self.watch.end()
        return batch, {}

    def on_look(self, partition_id: str) -> None:
        """Notes how many completions of the step or of the evaluation have arrived."""
        training = partition_id == "train"
        samples = self.config.sampling.group_size if training else self.config.evaluation.samples
        done, total = len(self.partitions[partition_id]), samples * len(self.prompt_global_steps[partition_id])
        text = "" if training else self.evaluated
        if not training or done < total:
            phase = Phase("step" if training else "evaluation", text, self.sampled_step, done, total)
            phase.write(self.files.phase)

    def _on_workers(self, names: set[str]) -> None:
        """Notes that the model is loaded: verl then starts its graders, and right after them the sampler."""
        if self.sampled_step < 0 and any(name.startswith("reward_loop_worker") for name in names):
            Phase("start", "starting the sampler").write(self.files.phase)

    def _record_step(self, step: int, partition_id: str, sampled: SampledGroups) -> None:
        keys = list(sampled.rewards)
        groups = self._groups(partition_id, keys, self.config.sampling.group_size)
        uids = dict.fromkeys(map(uid_of, keys))
        kept = torch.tensor([uid in sampled.kept for uid in uids], dtype=torch.bool)
        collected = Collected(GradedGroups.of(groups), kept, sampled.rounds)
        check_step(collected, step, self.config, problems=sampled.problems)
        step_record(collected, step, self.config).write(self.files.step(step))

    def _record_evaluation(self, step: int, partition_id: str) -> None:
        keys = sorted(self.partitions[partition_id])
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["data_source"])
        by_task: dict[str, list[str]] = {}
        for key, task in zip(keys, _entries(data["data_source"]), strict=True):
            by_task.setdefault(task, []).append(key)
        for task, of_task in by_task.items():
            groups = self._groups(partition_id, of_task, self.config.evaluation.samples)
            append_evaluated(self.files.evaluated(step, task), groups, seed=self.config.run.seed)

    def _groups(self, partition_id: str, keys: Sequence[str], group_size: int) -> list[Group]:
        if not keys:
            return []
        data = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=list(FIELDS))
        fields = {name: _entries(data[name]) for name in FIELDS}
        return groups_of(keys, fields, group_size=group_size, tokenizer=self.tokenizer, stop_tokens=self.stop_tokens)


def _entries(column: Any) -> list[Any]:
    """Returns a column as a list; tensordict has several kinds of them."""
    if isinstance(column, torch.Tensor):
        return list(column.unbind())
    return list(column.tolist() if hasattr(column, "tolist") else column)
