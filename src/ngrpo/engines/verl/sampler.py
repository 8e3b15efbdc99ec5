"""The groups of a step in verl: whole groups, filtered and refilled as our own trainer does it, and written down.

verl loads this module by its name, `trainer.v1.sampler.custom_sampler`; nothing else imports it, for it needs verl.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from ngrpo.adapters.rows import kept_rows
from ngrpo.assets import resolve_model_path
from ngrpo.config import load_config
from ngrpo.engines.verl.files import VerlFiles
from ngrpo.engines.verl.records import append_evaluated
from ngrpo.engines.verl.rows import FIELDS, groups_of, uid_of
from ngrpo.engines.verl.steps import check_step, step_record
from ngrpo.engines.verl.workers import WorkerWatch
from ngrpo.models import load_tokenizer
from ngrpo.sampling.engines import stop_tokens_at
from ngrpo.training.collect import MAX_EMPTY_STEPS, Collected
from ngrpo.types import Group


class GroupSampler(ReplayBuffer):  # type: ignore[misc]  # verl is not installed where this is checked
    """A replay buffer that gives a step the groups which its method's filter keeps.

    A step draws `train_batch_size` problems. When all are done, dropped groups are replaced by as many further
    problems, in rounds, until the batch is full or `max_refill_factor` times its size has been drawn; then verl pads
    what there is. Where nothing is kept, problems are drawn for as long as our own trainer would. Rows that could not
    be graded never enter the batch. What was drawn, evaluations included, is written down for
    `ngrpo.engines.verl.results`.
    """

    def __init__(self, **arguments: Any) -> None:
        path = arguments["sampler_kwargs"]["config_path"]
        self.config, self.files = load_config(path), VerlFiles.of_config(path)
        model = resolve_model_path(self.config.model.path)
        self.tokenizer = load_tokenizer(model, self.config.model.path)
        self.stop_tokens = stop_tokens_at(model, self.tokenizer)
        self.watch = WorkerWatch(self.files.lost)
        self.watch.begin()  # before any of the workers is there
        super().__init__(**arguments)

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Returns the rows of a step, or of an evaluation, unfiltered, and nothing of metrics: they are written down.

        Raises:
            TrainingError: when the grader or the sampler is at fault, or no group is left to train on.
        """
        training = partition_id == "train"
        batch = (
            self._step(global_steps, partition_id, batch_size)
            if training
            else self._evaluated(global_steps, partition_id)
        )
        if global_steps == self.config.run.steps and training != bool(self.config.evaluation.every):
            self.watch.end()
        return batch, {}

    def _step(self, step: int, partition_id: str, batch_size: int) -> Any:
        method = self.config.method
        drawn, rounds = batch_size, 1
        limit = max(batch_size, int(method.max_refill_factor * batch_size))
        while True:
            self._wait_until_done(partition_id)
            rewards, kept = self._rewards(partition_id)
            wanted = min(batch_size - len(kept), limit - drawn) if method.refill else 0
            if not kept and wanted <= 0 and drawn < MAX_EMPTY_STEPS * limit and self._mostly_graded(rewards, drawn):
                wanted = batch_size  # our own trainer goes on to its next step; verl has no step without a batch
            if wanted <= 0:
                break
            assert self.refill_fn is not None  # noqa: S101  (verl always gives it)
            self.refill_fn(wanted)
            drawn, rounds = drawn + wanted, rounds + 1
        keys = list(rewards)
        groups = self._groups(partition_id, keys, self.config.sampling.group_size)
        uids = list(dict.fromkeys(map(uid_of, keys)))
        collected = Collected(groups, [uid in kept for uid in uids], rounds)
        check_step(collected, step, self.config, problems=drawn)
        step_record(collected, step, self.config).write(self.files.step(step))
        return self._materialised(partition_id, rewards, kept)

    def _evaluated(self, step: int, partition_id: str) -> Any:
        self._wait_until_done(partition_id)
        keys = sorted(self.partitions[partition_id])
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["data_source"])
        by_task: dict[str, list[str]] = {}
        for key, task in zip(keys, _entries(data["data_source"]), strict=True):
            by_task.setdefault(task, []).append(key)
        for task, of_task in by_task.items():
            groups = self._groups(partition_id, of_task, self.config.evaluation.samples)
            append_evaluated(self.files.evaluated(step, task), groups, seed=self.config.run.seed)
        done = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        return self._materialize_batch(partition_id, sorted(done), self.partitions[partition_id])

    def _wait_until_done(self, partition_id: str) -> None:
        last = 0.0
        while True:
            self._sync_metadata_from_transfer_queue()
            if not self.pending_keys[partition_id] and not self.running_keys[partition_id]:
                return
            last = self._wait_for_next_poll(partition_id, last)

    def _rewards(self, partition_id: str) -> tuple[dict[str, float], frozenset[str]]:
        """Returns each row's reward so far, NaN where it is ungraded, and the uids of the groups the filter keeps."""
        keys = sorted(self.partitions[partition_id])
        if not keys:
            return {}, frozenset()
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["rm_scores"])
        rewards = torch.tensor([float(scores.sum()) for scores in data["rm_scores"]])
        uids = [uid_of(key) for key in keys]
        kept = kept_rows(self.config.method, rewards, uids, valid=~rewards.isnan())
        in_batch = frozenset(uid for uid, is_kept in zip(uids, kept.tolist(), strict=True) if is_kept)
        return dict(zip(keys, rewards.tolist(), strict=True)), in_batch

    def _mostly_graded(self, rewards: dict[str, float], problems: int) -> bool:
        total = problems * self.config.sampling.group_size
        ungraded = total - sum(not math.isnan(reward) for reward in rewards.values())
        return ungraded <= self.config.run.max_ungraded_share * total

    def _groups(self, partition_id: str, keys: Sequence[str], group_size: int) -> list[Group]:
        if not keys:
            return []
        data = tq.kv_batch_get(keys=list(keys), partition_id=partition_id, select_fields=list(FIELDS))
        fields = {name: _entries(data[name]) for name in FIELDS}
        return groups_of(keys, fields, group_size=group_size, tokenizer=self.tokenizer, stop_tokens=self.stop_tokens)

    def _materialised(self, partition_id: str, rewards: dict[str, float], kept: frozenset[str]) -> Any:
        ungraded = {key for key, reward in rewards.items() if math.isnan(reward)}
        terminal = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        self._clear_groups(partition_id, terminal - kept)
        rows = {key: tag for key, tag in self.partitions[partition_id].items() if key not in ungraded}
        if left := ungraded & self.partitions[partition_id].keys():
            tq.kv_clear(partition_id=partition_id, keys=sorted(left))
        return self._materialize_batch(partition_id, sorted(kept), rows)


def _entries(column: Any) -> list[Any]:
    """Returns a column as a list; tensordict has several kinds of them."""
    if isinstance(column, torch.Tensor):
        return list(column.unbind())
    return list(column.tolist() if hasattr(column, "tolist") else column)
