"""How often each grader of `ngrpo.grading` agrees with independent labels: the table of docs/grading.md.

    OMP_NUM_THREADS=1 python benchmarks/grade_agreement.py SHARED [--graders strict reference] [--pairs 10000] [--show]
    OMP_NUM_THREADS=1 python benchmarks/grade_agreement.py SHARED --kinds

SHARED is a folder with `data/graded/` (HardVerify-Math, tricky pairs, pairs from public bug reports, Qwen's graded
completions) and MATH as `data/math_test.parquet`. `--kinds` shares out the pairs from bug reports by their kind.
Prints the table and writes grade_agreement.json.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ngrpo.grading import GRADERS, GraderPool, last_boxed
from ngrpo.grading.graders import MATHEMATICAL
from ngrpo.tasks.table_rows import read_rows

Pairs = list[tuple[str, str, bool]]
"""(completion, reference, whether it is correct)"""


def boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def hard_verify(graded: Path, column: str) -> Pairs:
    rows = json.loads((graded / "hardverify_even.json").read_text("utf-8"))
    return [(boxed(row[column]), row["reference"], column == "accept") for row in rows]


def tricky(graded: Path, label: str) -> Pairs:
    pairs = json.loads((graded / "tricky.json").read_text("utf-8"))
    return [(boxed(p["answer"]), p["reference"], label == "accept") for p in pairs if p["expected"] == label]


def reported(graded: Path, label: str, kind: str = "") -> Pairs:
    """Pairs from public bug reports and test files; of one kind, or all."""
    pairs = json.loads((graded / "pairs.json").read_text("utf-8"))
    chosen = [pair for pair in pairs if pair["expected"] == label and kind in ("", pair["kind"])]
    return [(pair["completion"], pair["reference"], label == "accept") for pair in chosen]


def reported_kinds(shared: Path) -> dict[str, Callable[[], Pairs]]:
    graded = shared / "data" / "graded"
    kinds = sorted({pair["kind"] for pair in json.loads((graded / "pairs.json").read_text("utf-8"))})
    return {
        f"{kind}, to {label}": partial(reported, graded, label, kind)
        for kind in kinds
        for label in ("accept", "reject")
        if reported(graded, label, kind)
    }


def qwen(graded: Path) -> Pairs:
    lines = (graded / "qwen_800.jsonl").read_text("utf-8").split("\n")
    return [(row["completion"], row["reference"], row["correct"]) for row in map(json.loads, filter(None, lines))]


def math_references(shared: Path) -> list[str]:
    answers = [last_boxed(row["solution"]) for row in read_rows(shared / "data" / "math_test.parquet")]
    return [answer for answer in answers if answer]


def different_pairs(references: list[str], count: int, seed: int) -> Pairs:
    draw = random.Random(seed)
    pairs = (tuple(draw.sample(references, 2)) for _ in range(10 * count))
    return [(boxed(one), other, False) for one, other in pairs if differ(one, other)][:count]


def differ(one: str, other: str) -> bool:
    r"""Whether two references are different answers; `45^\circ` and `\frac{\pi}{4}` may be one angle."""
    angles = {r"\circ" in one, r"\circ" in other} == {True, False} and r"\pi" in one + other
    return plain(one) != plain(other) and not angles


def plain(answer: str) -> str:
    """An answer without what MATH's references state or leave out at will: units, currency, degrees, the name `x =`."""
    text = re.sub(r"\\text\{[^{}]*\}|\\\$|\^\{?\\circ\}?|\\[dt]frac(?=\{)|^[a-z] ?=|[\s{},!\\]", "", answer)
    return text.removesuffix(".00")


def data_sets(shared: Path, count: int, seed: int) -> dict[str, Callable[[], Pairs]]:
    graded = shared / "data" / "graded"
    references = math_references(shared)
    return {
        "HardVerify-Math, to accept": lambda: hard_verify(graded, "accept"),
        "HardVerify-Math, to reject": lambda: hard_verify(graded, "reject"),
        "tricky, to accept": lambda: tricky(graded, "accept"),
        "tricky, to reject": lambda: tricky(graded, "reject"),
        "bug reports, to accept": lambda: reported(graded, "accept"),
        "bug reports, to reject": lambda: reported(graded, "reject"),
        "Qwen's graded completions": lambda: qwen(graded),
        "MATH references against themselves": lambda: [(boxed(answer), answer, True) for answer in references],
        "random pairs of different MATH references": lambda: different_pairs(references, count, seed),
    }


def measured(grader: str, pairs: Pairs, show: bool) -> dict[str, float]:
    with GraderPool(1, 10.0, grader) as pool:
        pool.grade_many([(boxed("x+1"), "1+x")])
        began = time.perf_counter()
        grades = pool.grade_many([pair[:2] for pair in pairs])
        seconds = time.perf_counter() - began
    right = [(grade.status == "correct") == label for grade, (*_, label) in zip(grades, pairs, strict=True)]
    if show:
        for grade, (_, reference, label), agrees in zip(grades, pairs, right, strict=True):
            if not agrees:
                print(f"  {grader}: {reference!r} | {grade.answer!r} -> {grade.status} ({grade.reason}), label {label}")
    ungraded = sum(grade.status == "ungraded" for grade in grades)
    return {"agree": sum(right), "of": len(pairs), "ungraded": ungraded, "ms": 1e3 * seconds / len(pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--graders", nargs="+", choices=list(GRADERS), default=list(MATHEMATICAL))
    parser.add_argument("--pairs", type=int, default=10_000, help="random pairs of different MATH references")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="list every disagreement")
    parser.add_argument("--kinds", action="store_true", help="the pairs from bug reports, by kind")
    parser.add_argument("--out", type=Path, default=Path("grade_agreement.json"))
    arguments = parser.parse_args()
    table = {}
    print(f"| set | {' | '.join(arguments.graders)} |\n|---|{'---|' * len(arguments.graders)}")
    everything = data_sets(arguments.shared, arguments.pairs, arguments.seed)
    for name, load in (reported_kinds(arguments.shared) if arguments.kinds else everything).items():
        pairs = load()
        row = {grader: measured(grader, pairs, arguments.show) for grader in arguments.graders}
        cells = [f"{cell['agree']:,} of {cell['of']:,} ({cell['ms']:.2f} ms)" for cell in row.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        table[name] = row
    arguments.out.write_text(json.dumps({"seed": arguments.seed, "table": table}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
