"""The groups of a step in verl: whole groups, filtered and refilled as our own trainer does it.

verl loads this module by its name, `trainer.v1.sampler.custom_sampler`; nothing else imports it, for it needs verl.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from ngrpo.adapters.rows import kept_rows
from ngrpo.engines.verl_rounds import Round, SamplerSettings


class GroupSampler(ReplayBuffer):  # type: ignore[misc]  # verl is not installed where this is checked
    """A replay buffer that gives a step the groups which its method's filter keeps.

    A step draws `train_batch_size` problems. When all are done, dropped groups are replaced by as many further
    problems, in rounds, until the batch is full or `max_refill_factor` times its size has been drawn; then verl pads
    what there is. Rows that could not be graded never enter the batch.
    """

    def __init__(self, **arguments: Any) -> None:
        self.settings = SamplerSettings.of(arguments["sampler_kwargs"])
        super().__init__(**arguments)

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Returns the rows of a step and how they were found; evaluations are verl's own, unfiltered."""
        if partition_id != "train":
            found: tuple[Any, dict[str, float]] = super().sample(global_steps, partition_id, batch_size)
            return found
        drawn, rounds = batch_size, 1
        limit = max(batch_size, int(self.settings.max_refill_factor * batch_size))
        while True:
            self._wait_until_done(partition_id)
            found_round = self._graded(partition_id)
            missing = batch_size - len(found_round.kept) if self.settings.refill else 0
            wanted = min(missing, limit - drawn)
            if wanted <= 0:
                break
            assert self.refill_fn is not None  # noqa: S101  (verl always gives it)
            self.refill_fn(wanted)
            drawn, rounds = drawn + wanted, rounds + 1
        found_round.check(global_steps, self.settings)
        batch = self._materialised(partition_id, found_round)
        return batch, {**found_round.metrics(), "training/groups/drawn": drawn, "training/groups/rounds": rounds}

    def _wait_until_done(self, partition_id: str) -> None:
        last = 0.0
        while True:
            self._sync_metadata_from_transfer_queue()
            if not self.pending_keys[partition_id] and not self.running_keys[partition_id]:
                return
            last = self._wait_for_next_poll(partition_id, last)

    def _graded(self, partition_id: str) -> Round:
        """Returns which of the groups so far the filter keeps; those that failed have the rows that they have."""
        keys = sorted(self.partitions[partition_id])
        if not keys:
            return Round((), (), frozenset())
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["rm_scores"])
        rewards = torch.tensor([float(scores.sum()) for scores in data["rm_scores"]])
        groups = [key.split("_")[0] for key in keys]
        kept = kept_rows(self.settings.method, rewards, groups, valid=~rewards.isnan())
        return Round(tuple(keys), tuple(rewards.tolist()), frozenset(g for g, k in zip(groups, kept, strict=True) if k))

    def _materialised(self, partition_id: str, found: Round) -> Any:
        ungraded = {key for key, reward in zip(found.keys, found.rewards, strict=True) if math.isnan(reward)}
        terminal = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        self._clear_groups(partition_id, terminal - found.kept)
        rows = {key: tag for key, tag in self.partitions[partition_id].items() if key not in ungraded}
        if ungraded & self.partitions[partition_id].keys():
            tq.kv_clear(partition_id=partition_id, keys=sorted(ungraded & self.partitions[partition_id].keys()))
        return self._materialize_batch(partition_id, sorted(found.kept), rows)
