"""Throughput of the grader beside math-verify's, and what a second worker brings: the table of docs/grading.md.

    OMP_NUM_THREADS=1 python benchmarks/grade.py SHARED [--repeats 5]

Each contender grades the same completions, warm, in turns; a repeat of `strict` has a new pool, so that nothing is
remembered. "one core" pins this process and its workers to a single core. Prints the medians and writes grade.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from grade_agreement import boxed, different_pairs, math_references, qwen
from math_verify import parse, verify

from ngrpo.grading import GraderPool

Pairs = list[tuple[str, str]]


def math_verify(pairs: Pairs) -> float:
    """Seconds that the library takes, called as its page says."""
    began = time.perf_counter()
    for completion, reference in pairs:
        verify(parse(boxed(reference)), parse(completion))
    return time.perf_counter() - began


def pooled(policy: str, workers: int) -> Callable[[Pairs], float]:
    def seconds(pairs: Pairs) -> float:
        with GraderPool(workers, 2.0, policy) as pool:
            # Every worker is started and has loaded sympy.
            pool.grade_many([(boxed(str(n)), rf"\int_0^1 {n} dx") for n in range(16 * workers)])
            began = time.perf_counter()
            pool.grade_many(pairs)
            return time.perf_counter() - began

    return seconds


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def mixed(references: list[str], count: int, seed: int) -> Pairs:
    """Half of them a reference as the answer to itself, half the answer to another problem; in random order."""
    draw = random.Random(seed)
    pairs = [(boxed(answer), answer) for answer in draw.sample(references, count // 2)]
    pairs += [pair[:2] for pair in different_pairs(references, count - len(pairs), seed)]
    draw.shuffle(pairs)
    return pairs


def medians(contenders: dict[str, Callable[[Pairs], float]], pairs: Pairs, repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            seconds[name].append(contender(pairs))
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("grade.json"))
    arguments = parser.parse_args()
    references = math_references(arguments.shared)
    sets = {
        "Qwen's 800": [pair[:2] for pair in qwen(arguments.shared / "data" / "graded")],
        "5,000 mixed MATH pairs": mixed(references, 5000, arguments.seed),
    }
    math_verify(sets["Qwen's 800"][:20])
    alone = {"math-verify": math_verify, "reference": pooled("reference", 1), "strict": pooled("strict", 1)}
    table = {}
    print("| set | grader | pairs per second | ratio |\n|---|---|---|---|")
    for name, pairs in sets.items():
        with one_core():
            single = medians(alone, pairs, arguments.repeats)
        row = {f"{grader}, one core": seconds for grader, seconds in single.items()}
        row |= medians({"1 worker": pooled("strict", 1), "2 workers": pooled("strict", 2)}, pairs, arguments.repeats)
        for grader, seconds in row.items():
            base = row["1 worker" if "worker" in grader else "math-verify, one core"]
            print(f"| {name} | {grader} | {len(pairs) / seconds:,.0f} | {base / seconds:.2f} |", flush=True)
        table[name] = {"pairs": len(pairs), "seconds": row}
    arguments.out.write_text(json.dumps({"repeats": arguments.repeats, "table": table}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
