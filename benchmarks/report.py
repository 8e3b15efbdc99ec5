"""Size and time of `ngrpo report` on a run folder with many rollouts, made up here: nothing was trained.

python -m benchmarks.report --rollouts 100000 --characters 600
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ngrpo.runs.run_dir import RunDir

GROUP, STEPS = 8, 100
WORDS = (
    "so",
    "the",
    "sum",
    "is",
    "x + y",
    "therefore",
    "we",
    "get",
    "2^3",
    "and",
    "then",
    "divide",
    "by",
    "\\frac{1}{2}",
)


def made_up_run(folder: Path, rollouts: int, characters: int, seed: int = 0) -> RunDir:
    """Returns a run folder of 100 steps with groups of 8; completions of about so many characters."""
    rng = random.Random(seed)
    method = {"name": "ngrpo", "max_reward": 1.0}
    run = RunDir.create(
        folder, {"method": method, "sampling": {"group_size": GROUP}, "run": {"steps": STEPS}}, seed=seed
    )
    groups = rollouts // GROUP
    for step in range(1, STEPS + 1):
        lines, wrong = [], 0
        of_step = groups // STEPS + (step <= groups % STEPS)
        for number in range(of_step):
            rewards = [float(rng.random() < 0.2) for _ in range(GROUP)]
            wrong += not any(rewards)
            lines += [_line(rng, step, number, sample, reward, characters) for sample, reward in enumerate(rewards)]
        run.append_rollouts(lines)
        shares = {"group/all_wrong": wrong / max(1, of_step), "group/mixed": 1 - wrong / max(1, of_step)}
        run.append_metrics(
            {"step": step, **shares, "group/all_correct": 0.0, "group/ungraded": 0.0, "reward/mean": 0.2}
        )
    return run


def _line(rng: random.Random, step: int, number: int, sample: int, reward: float, characters: int) -> dict[str, object]:
    text = " ".join(rng.choices(WORDS, k=max(1, characters // 6)))
    prompt = {"prompt": f"Problem {number}: {text[:150]}"} if sample == 0 else {}
    return {
        "step": step,
        "problem_id": f"problem-{number}",
        "sample": sample,
        **prompt,
        "completion": text,
        "answer": str(rng.randrange(20)),
        "reference": "7",
        "status": "correct" if reward else "wrong",
        "reward": reward,
        "advantage": reward - 0.2,
        "num_tokens": len(text) // 4,
        "finish_reason": "stop",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        run = made_up_run(folder, options.rollouts, options.characters)
        log = run.rollouts_path.stat().st_size
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ngrpo", "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "report.html").stat().st_size
        print(
            f"{options.rollouts:,} rollouts ({log / 1e6:.0f} MB): {page / 1e6:.2f} MB in {seconds:.1f} s, "
            f"{used.ru_utime + used.ru_stime:.1f} s of them computing, {used.ru_maxrss / 1e6:.1f} GB"
        )


if __name__ == "__main__":
    main()
