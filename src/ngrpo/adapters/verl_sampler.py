"""A replay buffer for verl 0.9 with the filters of our methods, refilled, and with group metrics.

    trainer.v1.sampler.custom_sampler.path=pkg://ngrpo.adapters.verl_sampler
    trainer.v1.sampler.custom_sampler.name=GroupSampler
    +trainer.v1.sampler.sampler_kwargs.name=ngrpo        # and any setting of `[method]`, such as filter=all
    data.gen_batch_size=1                                # so that a refill asks for exactly what is missing

for the synchronous trainer, with verl's own `algorithm.filter_groups` off. Only verl imports this module.
"""

from __future__ import annotations

from typing import Any

import transfer_queue as tq
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from ngrpo.adapters.verl_groups import SampledGroups, in_fixed_order
from ngrpo.errors import TrainingError
from ngrpo.methods import Method, load_method
from ngrpo.training.collect import MAX_EMPTY_STEPS

MAX_UNGRADED_SHARE = 0.5
"""With more of a step ungraded the grader is broken."""


class GroupSampler(ReplayBuffer):  # type: ignore[misc]  # verl is not installed where this is checked
    """Gives a step the groups that its method's filter keeps, whole, without the rows that could not be graded (NaN).

    A step samples `train_batch_size` problems. When all are done, dropped groups are replaced by as many further
    problems, in rounds, until the batch is full or `max_refill_factor` times its size has been sampled; then verl pads
    what there is. Where nothing is kept, problems are sampled for as long as our own trainer would.

    Rows are in a fixed order, problems as the data loader gave them and samples by number, in whatever order they
    arrive: verl cuts its mini-batches from it, and equal rollouts then give equal updates.
    """

    method: Method
    max_ungraded_share: float = MAX_UNGRADED_SHARE

    def __init__(self, **arguments: Any) -> None:
        table = arguments["sampler_kwargs"]
        self.method = self.method_of({str(key): table[key] for key in table})
        super().__init__(**arguments)

    def method_of(self, table: dict[str, Any]) -> Method:
        """Returns the method of `trainer.v1.sampler.sampler_kwargs`."""
        return load_method(table, where="trainer.v1.sampler.sampler_kwargs: ")

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, float]]:
        """Returns the rows of a step with its group metrics, or those of an evaluation, unfiltered.

        Raises:
            TrainingError: when no group is left to train on.
        """
        if partition_id != "train":
            self.wait_until_done(partition_id)
            return self.everything(partition_id), {}
        sampled = self.sampled_groups(partition_id, batch_size)
        if not sampled.kept:
            raise TrainingError(
                f"step {global_steps}: filter '{self.method.filter}' kept none of the groups of {sampled.problems} "
                f"problems; {len(sampled.ungraded)} of {len(sampled.rewards)} completions were not graded"
            )
        return self.kept_rows(partition_id, sampled), sampled.metrics(self.method)

    def sampled_groups(self, partition_id: str, batch_size: int) -> SampledGroups:
        """Returns what a step has sampled when its batch is full, or as full as it gets."""
        problems, rounds = batch_size, 1
        while True:
            self.wait_until_done(partition_id)
            rewards = self._rewards(partition_id)
            sampled = SampledGroups.graded(rewards, self.method, problems=problems, rounds=rounds)
            wanted = sampled.wanted(
                batch_size, self.method, empty_steps=MAX_EMPTY_STEPS, max_ungraded_share=self.max_ungraded_share
            )
            if not wanted:
                return sampled
            assert self.refill_fn is not None  # noqa: S101  (verl always gives it)
            self.refill_fn(wanted)
            problems, rounds = problems + wanted, rounds + 1

    def kept_rows(self, partition_id: str, sampled: SampledGroups) -> Any:
        """Returns the graded rows of the kept groups in their fixed order, and removes all others from the queue."""
        self._clear_groups(partition_id, self._done(partition_id) - sampled.kept)
        left = set(sampled.ungraded) & self.partitions[partition_id].keys()
        rows = {key: tag for key, tag in self.ordered_rows(partition_id).items() if key not in left}
        if left:
            tq.kv_clear(partition_id=partition_id, keys=sorted(left))
        return self._materialize_batch(partition_id, sorted(sampled.kept), rows)

    def everything(self, partition_id: str) -> Any:
        """Returns all rows, in their fixed order."""
        return self._materialize_batch(partition_id, sorted(self._done(partition_id)), self.ordered_rows(partition_id))

    def ordered_rows(self, partition_id: str) -> dict[str, dict[str, Any]]:
        """Returns the tags of all rows by key: problems in the order of the data loader, samples by number."""
        tags = self.partitions[partition_id]
        # The queue lists keys as they were registered, and verl registers the problems of a step before any row.
        return {key: tags[key] for key in in_fixed_order(tags, self.prompt_global_steps[partition_id])}

    def wait_until_done(self, partition_id: str) -> None:
        """Waits until every problem that was given out has come back."""
        last = 0.0
        while True:
            self._sync_metadata_from_transfer_queue()
            self.on_look(partition_id)
            if not self.pending_keys[partition_id] and not self.running_keys[partition_id]:
                return
            last = self._wait_for_next_poll(partition_id, last)

    def on_look(self, partition_id: str) -> None:
        """Is called whenever the queue has been asked what has arrived, for subclasses that show it."""

    def _done(self, partition_id: str) -> set[str]:
        done: set[str] = self.finished_keys[partition_id] | self.failure_keys[partition_id]
        return done

    def _rewards(self, partition_id: str) -> dict[str, float]:
        keys = list(self.ordered_rows(partition_id))
        if not keys:
            return {}
        data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=["rm_scores"])
        return {key: float(scores.sum()) for key, scores in zip(keys, data["rm_scores"], strict=True)}
