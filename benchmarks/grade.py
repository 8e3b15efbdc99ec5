"""Throughput of the grader beside math-verify's, and what a second worker brings: the table of docs/grading.md.

    OMP_NUM_THREADS=1 python benchmarks/grade.py SHARED [--repeats 3] [--worker-repeats 15]

Each contender grades the same completions, warm, in turns; a repeat of `strict` has a new pool, so that nothing is
remembered. "one core" pins this process and its workers to a single core. Prints what the least time of each makes, and
writes grade.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from grade_agreement import boxed, different_pairs, hard_verify, math_references, qwen
from math_verify import parse, verify

from ngrpo.grading import GraderPool

Pairs = list[tuple[str, str]]


def math_verify(pairs: Pairs) -> float:
    """Seconds that the library takes, called as its page says."""
    began = time.perf_counter()
    for completion, reference in pairs:
        verify(parse(boxed(reference)), parse(completion))
    return time.perf_counter() - began


def pooled(grader: str, workers: int, warm_up: Pairs) -> Callable[[Pairs], float]:
    def seconds(pairs: Pairs) -> float:
        with GraderPool(workers, 2.0, grader) as pool:
            # Every worker is started, has loaded sympy, and has graded other pairs than those that are timed.
            pool.grade_many([(boxed(str(n)), rf"\int_0^1 {n} dx") for n in range(16 * workers)])
            pool.grade_many(warm_up)
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


def least(contenders: dict[str, Callable[[Pairs], float]], pairs: Pairs, repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            seconds[name].append(contender(pairs))
    # What else the machine does only ever adds to a time.
    return {name: min(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--repeats", type=int, default=3, help="of each grader on one core")
    parser.add_argument("--worker-repeats", type=int, default=15, help="of one worker and of two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("grade.json"))
    arguments = parser.parse_args()
    references = math_references(arguments.shared)
    sets = {
        "Qwen's 800": [pair[:2] for pair in qwen(arguments.shared / "data" / "graded")],
        "5,000 mixed MATH pairs": mixed(references, 5000, arguments.seed),
    }
    math_verify(sets["Qwen's 800"][:20])
    graded = arguments.shared / "data" / "graded"
    warm_up = [pair[:2] for column in ("accept", "reject") for pair in hard_verify(graded, column)]
    one, two = pooled("strict", 1, warm_up), pooled("strict", 2, warm_up)
    alone = {"math-verify": math_verify, "reference": pooled("reference", 1, warm_up), "strict": one}
    table = {}
    print("| set | grader | pairs per second | ratio |\n|---|---|---|---|")
    for name, pairs in sets.items():
        with one_core():
            single = least(alone, pairs, arguments.repeats)
        row = {f"{grader}, one core": seconds for grader, seconds in single.items()}
        row |= least({"1 worker": one, "2 workers": two}, pairs, arguments.worker_repeats)
        for grader, seconds in row.items():
            base = row["1 worker" if "worker" in grader else "math-verify, one core"]
            print(f"| {name} | {grader} | {len(pairs) / seconds:,.0f} | {base / seconds:.2f} |", flush=True)
        table[name] = {"pairs": len(pairs), "seconds": row}
    arguments.out.write_text(json.dumps({"table": table}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
