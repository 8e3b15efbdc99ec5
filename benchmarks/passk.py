"""Seconds and memory from a file of graded completions to Pass@k and its area, beside the reference's algorithm.

    OMP_NUM_THREADS=1 python benchmarks/passk.py [--problems 5000] [--samples 256] [--completion 1] [--repeats 3]

Makes a file in the reference implementation's format in a temporary folder, and lets each contender read it in a
process of its own, in turns: ngrpo with `summarize(read_counts(FILE))`, intervals included; and the reference's plain
algorithm, a JSON line at a time into dictionaries, then the NumPy product per problem and k. Both must find the same
numbers. "majority" is ngrpo with maj@k, where each problem has 5, 20 or 60 different wrong answers. Prints the least
times, the processes' peak memory and the ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

Measured = dict[str, Any]


def made(folder: Path, problems: int, samples: int, completion: int, seed: int) -> Path:
    draw = random.Random(seed)
    path = folder / "samples.jsonl"
    response = ("So x = 2y.\n" * (completion // 11 + 1))[:completion]
    chances = [draw.betavariate(0.4, 1.2) for _ in range(problems)]
    with path.open("w", encoding="utf-8") as file:
        for question, chance in enumerate(chances):
            wrong = draw.choice([5, 20, 60])
            for generation in range(samples):
                label = draw.random() < chance
                line = {
                    "prompt": f"p{question}",
                    "vanilla_response": response,
                    "question": f"q{question}",
                    "answer": "a",
                    "question_id": question,
                    "generation_id": generation,
                    "response": response,
                    "label": label,
                    "gold_answer": "a",
                    "pred_answer": "a" if label else str(draw.randrange(wrong)),
                }
                file.write(json.dumps(line) + "\n")
    return path


def ngrpo(path: Path) -> Measured:
    began = time.perf_counter()
    from ngrpo.evaluation.samples.counts import read_counts
    from ngrpo.evaluation.statistics.summary import summarize

    imported = time.perf_counter()
    counts = read_counts(path)
    read = time.perf_counter()
    summary = summarize(counts)
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "of which": {"import": imported - began, "counts": read - imported, "summary": ended - read},
        "pass_at_k": {str(k): share for k, share in summary.pass_at_k.items()},
        "auc": summary.auc,
    }


def majority(path: Path) -> Measured:
    began = time.perf_counter()
    found = ngrpo(path)
    from ngrpo.evaluation.statistics.majority import majority_curve, read_votes

    majority_curve(read_votes(path).values())
    return found | {"seconds": time.perf_counter() - began}


def reference(path: Path) -> Measured:
    began = time.perf_counter()
    labels: dict[int, dict[int, bool]] = defaultdict(dict)
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            labels[row["question_id"]][row["generation_id"]] = row["label"]
    read = time.perf_counter()
    samples = len(next(iter(labels.values())))
    curve = {}
    for k in [1 << exponent for exponent in range(samples.bit_length())]:
        values = []
        for own in labels.values():
            n, c = len(own), sum(own.values())
            values.append(1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))
        curve[str(k)] = float(np.mean(values))
    shares = list(curve.values())
    area = (sum(shares) - (shares[0] + shares[-1]) / 2) / (len(shares) - 1)
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "of which": {"counts": read - began, "summary": ended - read},
        "pass_at_k": curve,
        "auc": area,
    }


CONTENDERS = {"ngrpo": ngrpo, "majority": majority, "reference": reference}


def measured(contender: str, path: Path) -> Measured:
    # A child's peak memory is never below what its parent had: this process therefore holds nothing large.
    command = [sys.executable, __file__, "--contender", contender, "--file", str(path)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))


def least(path: Path, repeats: int) -> dict[str, Measured]:
    runs: dict[str, list[Measured]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name in CONTENDERS:
            runs[name].append(measured(name, path))
    # What else the machine does only ever adds to a time.
    return {name: min(each, key=lambda run: run["seconds"]) for name, each in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--completion", type=int, default=1, help="characters of a completion, of which a line has two")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--contender", choices=list(CONTENDERS), help="measure this one on --file and print JSON")
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.contender:
        found = CONTENDERS[arguments.contender](arguments.file)
        # Linux counts in kibibytes, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        used = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"processor_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * unit}
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = made(Path(folder), arguments.problems, arguments.samples, arguments.completion, arguments.seed)
        size = path.stat().st_size
        table = least(path, arguments.repeats)
    ours, theirs = table["ngrpo"], table["reference"]
    for k, share in theirs["pass_at_k"].items():
        assert abs(ours["pass_at_k"][k] - share) < 1e-9, (k, ours["pass_at_k"][k], share)
    assert abs(ours["auc"] - theirs["auc"]) < 1e-9
    if arguments.json:
        content = {"problems": arguments.problems, "samples": arguments.samples, "bytes": size, "table": table}
        print(json.dumps(content))
        return
    print(f"{arguments.problems:,} problems x {arguments.samples} samples, {size / 1e6:,.0f} MB\n")
    print("| contender | seconds | of which | processor seconds | peak memory | time, reference = 1 |")
    print("|---|---|---|---|---|---|")
    for name, run in table.items():
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in run["of which"].items())
        ratio = run["seconds"] / theirs["seconds"]
        spent, peak = run["processor_seconds"], run["peak_bytes"] / 1e6
        print(f"| {name} | {run['seconds']:.2f} | {parts} | {spent:.2f} | {peak:,.0f} MB | {ratio:.2f} |")


if __name__ == "__main__":
    main()
