"""A task of your own in one class and one line, trained on the shipped model.

    python examples/custom_task.py             # a CPU, some seconds per step

Sums: reach a target by adding four numbers up. The shipped model answers in postfix, such as `1 2 + 3 + 4 +`.
"""

import random
import sys
import tempfile
from pathlib import Path
from typing import Literal

from ngrpo import TASKS, train
from ngrpo.tasks import Task
from ngrpo.types import Grade, Problem


class Sums(Task):
    """Its fields are the keys that `[task]` takes besides those of every task."""

    name: Literal["sums"] = "sums"
    prompt: str = "{question} :"
    size: int = 500

    def load_problems(self, split):
        rng, problems = random.Random(split), []  # the same problems in every process
        for i in range(self.size):
            numbers = [rng.randint(1, 13) for _ in range(4)]
            question = f"{' '.join(map(str, sorted(numbers)))} = {sum(numbers)}"
            problems.append(Problem(f"{split}-{i}", question, reference=str(sorted(numbers))))
        return problems

    def grade_many(self, answers):
        return [self.grade(problem, text) for problem, text in answers]

    def grade(self, problem, text):
        tokens = text.split()
        numbers = sorted(int(token) for token in tokens if token.isdigit())
        if not numbers:
            return Grade("no_answer", 0.0)
        if str(numbers) == problem.reference and tokens.count("+") == 3 and len(tokens) == 7:
            return Grade("correct", self.max_reward, text)
        return Grade("wrong", 0.0, text)


TASKS["sums"] = (__name__, "Sums")  # the module and the class, imported when a config names the task


def main(overrides):
    config = {
        "model": {"path": "builtin:countdown-base"},
        "task": {"name": "sums"},
        "sampling": {"problems_per_step": 64, "max_completion_tokens": 8},
        "optimizer": {"lr": 3e-4},
        "evaluation": {"every": 0},
        "run": {"steps": 3},
    }
    with tempfile.TemporaryDirectory() as folder:
        for step in train(config, Path(folder) / "run", overrides=overrides, progress=False).read_metrics():
            print(f"step {step['step']}: reward {step['reward/mean']:.3f}, all-wrong {step['group/all_wrong']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
