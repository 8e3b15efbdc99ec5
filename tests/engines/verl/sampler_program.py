"""Puts the same rollouts into a transfer queue in three orders and prints what our replay buffer makes of each.

Run by test_sampler.py, in a process of its own: Ray and the queue are one per process.
"""

from __future__ import annotations

import json
import math
import random
import sys
import uuid

import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.metric_utils import compute_data_metrics
from verl.utils.tensordict_utils import list_of_dict_to_tensordict

from ngrpo.adapters.verl_sampler import GroupSampler

PROBLEMS, SAMPLES, DROPPED, UNGRADED_PROBLEM, UNGRADED_SAMPLE = map(int, sys.argv[1:])
FIELDS = ["prompts", "responses", "response_mask", "rm_scores"]


def reward_of(problem: int, sample: int) -> float:
    if (problem, sample) == (UNGRADED_PROBLEM, UNGRADED_SAMPLE):
        return math.nan
    return 1.0 if problem == DROPPED else float((problem + sample) % 3 == 0)


def row_of(problem: int, sample: int) -> dict[str, torch.Tensor]:
    length = 1 + (problem * 5 + sample) % 4
    scores = torch.zeros(length)
    scores[-1] = reward_of(problem, sample)
    return {
        "prompts": torch.full((3,), problem),
        "responses": torch.full((length,), sample),
        "response_mask": torch.ones(length, dtype=torch.long),
        "rm_scores": scores,
    }


def averages(keys: list[str]) -> dict[str, float]:
    """What verl logs of rows, by its own function, as its trainer calls it."""
    data = tq.kv_batch_get(keys=keys, partition_id="train", select_fields=FIELDS).to_padded_tensor()
    data["token_level_scores"] = data["token_level_rewards"] = data["rm_scores"]
    data["advantages"] = data["returns"] = torch.zeros_like(data["rm_scores"])
    data["prompt_length"] = torch.full((len(keys),), 3.0)
    data["response_length"] = data["response_mask"].sum(dim=-1).float()
    return compute_data_metrics(batch=DataProto(batch=data), use_critic=False)


def main(seed: int) -> None:
    sampler = GroupSampler(
        trainer_mode="sync",
        trainer_config=OmegaConf.create({}),
        max_off_policy_threshold=None,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create({"name": "ngrpo", "filter": "all_correct", "refill": False}),
        poll_interval=0.1,
    )
    order = random.Random(seed)
    uids = [str(uuid.UUID(int=order.getrandbits(128))) for _ in range(PROBLEMS)]
    pending = {"is_prompt": True, "status": "pending", "global_steps": 1}
    tq.kv_batch_put(keys=uids, partition_id="train", tags=[dict(pending) for _ in uids])
    arriving = [(problem, sample) for problem in range(PROBLEMS) for sample in range(SAMPLES)]
    order.shuffle(arriving)
    for problem, sample in arriving:
        tq.kv_batch_put(
            keys=[f"{uids[problem]}_{sample}_0"],
            partition_id="train",
            fields=list_of_dict_to_tensordict([row_of(problem, sample)]),
            tags=[{"status": "success"}],
        )
    for uid in order.sample(uids, len(uids)):
        tq.kv_put(key=uid, partition_id="train", tag={"status": "finished"})
    everything = [f"{uids[problem]}_{sample}_0" for problem, sample in arriving]
    plain = averages(everything)
    batch, ours = sampler.sample(global_steps=1, partition_id="train", batch_size=PROBLEMS)
    rows = [(uids.index(uid), int(sample)) for uid, sample, _ in (key.split("_") for key in batch.keys)]
    graded = [reward for reward in (reward_of(*row) for row in rows) if not math.isnan(reward)]
    told = {
        "arrived": arriving,
        "rows": rows,
        "verl": {name: value for name, value in averages(batch.keys).items() if name.startswith("critic/")},
        "plain": {name: None if math.isnan(plain[name]) else plain[name] for name in list(plain)[:4:3]},
        "ours": ours,
        "mean_of_graded": sum(graded) / len(graded),
    }
    print(json.dumps(told), flush=True)
    tq.kv_clear(keys=batch.keys, partition_id="train")


if __name__ == "__main__":
    ray.init(num_cpus=6, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    try:
        for number in range(3):
            main(number)
    finally:
        tq.close()
        ray.shutdown()
