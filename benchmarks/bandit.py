"""The methods on a tabular bandit, the negative control of the study: docs/results.md.

    python benchmarks/bandit.py [--seeds 20] [--json]

512 problems, each a softmax over 64 answers of which one is correct, with no parameter in common and plain gradient
ascent: neither clip, optimiser nor generalisation can help, so the expected update of a problem is f(p) times the
gradient of p (`ngrpo advantages`, docs/algorithm.md), and a method with less weight on rare successes should
be behind. Groups of 8, one update per step, the same problems and random numbers for every method of a seed. Figures
are exact Pass@k of the tables at the end; differences are paired by seed, with 95 % intervals of Student's t.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from ngrpo.evaluation.statistics.student_t import student_quantile
from ngrpo.methods import GroupMethod, load_method

METHODS = ("grpo", "ngrpo", "constant", "maxrl", "dr_grpo")
PROBLEMS, ANSWERS, GROUP_SIZE = 512, 64, 8
STEPS, RATE = 400, 0.3
KS = (1, 2, 4, 8, 16, 32, 64)
NAMES = ("Pass@1", "Pass@64", "AUC")


def learned(method: GroupMethod, seed: int) -> np.ndarray:
    """Pass@1, Pass@64 and the AUC after the last step."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(PROBLEMS, ANSWERS, generator=random, dtype=torch.float64)
    logits[:, 0] -= 3 * torch.rand(PROBLEMS, generator=random, dtype=torch.float64)  # answer 0 is correct
    for _ in range(STEPS):
        shares = logits.softmax(dim=1)
        answers = torch.multinomial(shares, GROUP_SIZE, replacement=True, generator=random)
        advantages = method.advantages((answers == 0).double())
        # The gradient of log softmax at answer a is its indicator minus the shares.
        gradient = torch.zeros_like(logits).scatter_add_(1, answers, advantages)
        logits += RATE / GROUP_SIZE * (gradient - advantages.sum(dim=1, keepdim=True) * shares)
    rates = logits.softmax(dim=1)[:, :1].numpy()
    curve = (1 - (1 - rates) ** np.array(KS)).mean(axis=0)
    return np.array([curve[0], curve[-1], np.trapezoid(curve, np.log2(KS)) / np.log2(KS[-1])])


def interval(values: np.ndarray) -> str:
    """The mean in points with its interval over seeds."""
    half = student_quantile(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():+.2f} [{100 * (values.mean() - half):+.2f}, {100 * (values.mean() + half):+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    for name in METHODS:
        method = load_method({"name": name})
        assert isinstance(method, GroupMethod)
        found[name] = np.stack([learned(method, seed) for seed in range(given.seeds)])
    if given.json:
        print(json.dumps({name: dict(zip(NAMES, values.T.tolist(), strict=True)) for name, values in found.items()}))
        return
    print("| method | " + " | ".join(f"{name} | minus GRPO" for name in NAMES) + " |")
    print("|---" * (1 + 2 * len(NAMES)) + "|")
    for name, values in found.items():
        differences = ["" if name == "grpo" else interval(column) for column in (values - found["grpo"]).T]
        cells = [f"{100 * mean:.1f} | {text}" for mean, text in zip(values.mean(axis=0), differences, strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
