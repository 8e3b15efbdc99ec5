"""Advantages of a step beside the ways in which others compute them: vectorised over equal groups, and group by group.

    OMP_NUM_THREADS=1 python benchmarks/advantages.py [--repeats 5] [--json]

"ours" is the estimator of GRPO or NGRPO, which checks its input and computes in float64; "vectorised" takes [P, G] as a
whole, less its mean over its deviation, in float32; "by group" gathers a list per problem and loops over them. Prints
microseconds of user and kernel time for 64 x 8, 1,024 x 8 and 8,192 x 16 rewards, the least of the repeats.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from paired import parser
from torch import Tensor

from ngrpo.advantages import grpo_advantages, ngrpo_advantages

SHAPES = (64, 8), (1024, 8), (8192, 16)


def vectorised(rewards: Tensor) -> Tensor:
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-6)


def by_group(rewards: Tensor) -> Tensor:
    scores, problems = rewards.flatten(), torch.arange(len(rewards)).repeat_interleave(rewards.shape[1]).tolist()
    groups: dict[int, list[Tensor]] = defaultdict(list)
    for place, problem in enumerate(problems):
        groups[problem].append(scores[place])
    statistics = {problem: (torch.stack(of).mean(), torch.stack(of).std()) for problem, of in groups.items()}
    parts = [(scores[i] - statistics[p][0]) / (statistics[p][1] + 1e-6) for i, p in enumerate(problems)]
    return torch.stack(parts).view(rewards.shape)


CONTENDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "ours, GRPO": grpo_advantages,
    "ours, NGRPO": ngrpo_advantages,
    "vectorised": vectorised,
    "by group": by_group,
}


def microseconds(work: Callable[[Tensor], Tensor], rewards: Tensor, least: float) -> float:
    """The time of one call: of as many as take `least` seconds together."""
    work(rewards)
    began, calls = time.process_time(), 0
    while time.process_time() - began < least:
        work(rewards)
        calls += 1
    return (time.process_time() - began) / calls * 1e6


def main() -> None:
    given = parser(__doc__ or "", repeats=5).parse_args()
    torch.set_num_threads(1)
    table: dict[str, dict[str, float]] = {}
    for problems, size in SHAPES:
        rewards = (torch.rand(problems, size, generator=torch.Generator().manual_seed(0)) < 0.2).float()
        assert torch.allclose(by_group(rewards), grpo_advantages(rewards).float(), atol=1e-5)
        row = {name: float("inf") for name in CONTENDERS}
        for _ in range(given.repeats):
            for name, work in CONTENDERS.items():
                row[name] = min(row[name], microseconds(work, rewards, 0.05))
        table[f"{problems:,} x {size}"] = row
    if given.json:
        print(json.dumps({"microseconds": table}))
        return
    print(f"| rewards | {' | '.join(CONTENDERS)} |\n|---|{'---|' * len(CONTENDERS)}")
    for shape, row in table.items():
        print(f"| {shape} | {' | '.join(f'{value:,.0f}' for value in row.values())} |")


if __name__ == "__main__":
    main()
