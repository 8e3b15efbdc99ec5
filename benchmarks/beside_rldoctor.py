"""`ngrpo diagnose` and rldoctor on the same logs: the tables of docs/diagnose.md.

    python -m venv rld && rld/bin/pip install rldoctor==0.2.0
    python benchmarks/beside_rldoctor.py rld/bin/python

Logs: five healthy runs of the shipped model (12 steps of 8 groups of 8), the pathologies of tests/diagnosis planted in
the first of them, and rldoctor's own simulated runs. rldoctor reads metrics and no rollouts, so it is given the metrics
of each step under TRL's names, computed from the planted rollouts. Some minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import ngrpo
from ngrpo.diagnosis import diagnose, read_log
from ngrpo.errors import NgrpoError
from tests.diagnosis.conftest import CONFIG, SETTINGS
from tests.diagnosis.test_diagnose_log import PLANTED, lines, write

STEPS, SEEDS = 12, 5
SIMULATE = (
    "import json, sys; from rl_doctor.simulate import SCENARIOS, simulate\n"
    "for name in SCENARIOS:\n"
    "    print(json.dumps([name, simulate(name)[0]]))"
)
RENAMED = {
    "policy/entropy": "entropy",
    "clip/low_fraction": "clip_ratio/low_mean",
    "clip/high_fraction": "clip_ratio/high_mean",
    "update/grad_norm": "grad_norm",
    "update/lr": "learning_rate",
    "completion/mean_tokens": "completions/mean_length",
    "completion/truncated": "completions/clipped_ratio",
}
"""Our metrics under TRL's names, which rldoctor knows."""


def trl_metrics(metrics: list[dict[str, Any]], rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns each step's line as TRL would have logged it."""
    by_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rollouts:
        by_step[row["step"]].append(row)
    out = []
    for line in metrics:
        rows = by_step[line["step"]]
        groups: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            groups[row["problem_id"]].append(row["reward"] or 0.0)
        rewards = [reward for group in groups.values() for reward in group]
        logged = {"step": line["step"], **{theirs: line[ours] for ours, theirs in RENAMED.items()}}
        logged["clip_ratio/region_mean"] = line["clip/low_fraction"] + line["clip/high_fraction"]
        logged |= {
            "reward": statistics.fmean(rewards),
            "reward_std": statistics.pstdev(rewards),
            "frac_reward_zero_std": statistics.fmean(len(set(group)) == 1 for group in groups.values()),
        }
        if second := [row["second_reward"] for row in rows if "second_reward" in row]:
            logged["eval/accuracy"] = statistics.fmean(second)
        out.append(logged)
    return out


def with_planted_lengths(metrics: list[dict[str, Any]], rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the metrics with the lengths and truncations of the rollouts."""
    out = []
    for line in metrics:
        rows = [row for row in rollouts if row["step"] == line["step"]]
        length = statistics.fmean(row["num_tokens"] for row in rows)
        cut = statistics.fmean(row["finish_reason"] == "length" for row in rows)
        out.append({**line, "completion/mean_tokens": length, "completion/truncated": cut})
    return out


def ours(path: Path) -> str:
    try:
        names = [diagnosed.found.name for diagnosed in diagnose(read_log(path)).warnings]
    except NgrpoError as error:
        return f"error: {error}"
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names)) or "nothing"


def theirs(python: str, path: Path) -> str:
    command = [python, "-m", "rl_doctor.cli", "diagnose", str(path), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        return f"error: {done.stderr.strip().splitlines()[-1]}"
    found = json.loads(done.stdout)["findings"]
    named = [f"{f['severity'].lower()}: {f['detector']}" for f in found if f["severity"] not in ("OK", "SKIPPED")]
    return ", ".join(named) or "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="a Python that has rldoctor")
    python = parser.parse_args().python
    settings = [f"run.steps={STEPS}", *(text for text in SETTINGS if not text.startswith("run.steps"))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print("| log | ngrpo diagnose | rldoctor |\n|---|---|---|")
        for seed in range(SEEDS):
            overrides = [*settings, f"run.seed={seed}"]
            run = ngrpo.train(CONFIG, folder / f"seed{seed}", overrides=overrides, progress=False).path
            metrics, rollouts = lines(run / "metrics.jsonl"), lines(run / "rollouts.jsonl")
            write(folder / "trl.jsonl", trl_metrics(metrics, rollouts))
            print(f"| healthy, seed {seed} | {ours(run)} | {theirs(python, folder / 'trl.jsonl')} |")
        for name, file, plant in PLANTED:
            metrics, rollouts = (lines(folder / "seed0" / f"{kind}.jsonl") for kind in ("metrics", "rollouts"))
            rows = {"metrics": metrics, "rollouts": rollouts}[file]
            plant(rows)
            write(folder / f"{file}.jsonl", rows)
            if file == "rollouts":
                metrics = with_planted_lengths(metrics, rollouts)
            write(folder / "trl.jsonl", trl_metrics(metrics, rollouts))
            found = ours(folder / f"{file}.jsonl"), theirs(python, folder / "trl.jsonl")
            print(f"| {name}, in {file} | {found[0]} | {found[1]} |")
        simulated = subprocess.run([python, "-c", SIMULATE], capture_output=True, text=True, check=True).stdout
        for name, records in map(json.loads, simulated.splitlines()):
            write(folder / "simulated.jsonl", records)
            found = ours(folder / "simulated.jsonl"), theirs(python, folder / "simulated.jsonl")
            print(f"| rldoctor's {name} | {found[0]} | {found[1]} |")


if __name__ == "__main__":
    main()
