r"""How long it takes to find the answer in long completions: the table of docs/grading.md, section 1.

    OMP_NUM_THREADS=1 python benchmarks/extract.py [--megabytes 0.25 0.5 1 2]

Completions of prose, and floods of what opens, closes or announces an answer. Prints milliseconds (the least of five)
by size, the ratio of the largest to the next smaller size (2 is linear), and writes extract.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from ngrpo.grading.graders import GRADERS

PROSE = r"We set $x = \frac{1}{2}$ and add \{1, 2\}: then \boxed{3} cannot be, since the answer is larger. "
TEXTS: dict[str, Callable[[int], str]] = {
    "prose with a box at its end": lambda size: (PROSE * (size // len(PROSE) + 1))[:size] + r" So \boxed{\frac{3}{4}}.",
    "prose with a box at its beginning": lambda size: r"\boxed{7}" + ("All is said. " * (size // 13 + 1))[:size],
    "prose without any": lambda size: ("All is said. " * (size // 13 + 1))[:size],
    **{
        f"flood of {piece!r}": lambda size, piece=piece: (piece * (size // len(piece) + 1))[:size]
        for piece in (
            *("$", r"\[", r"\boxed{", r"\boxed{1}", r"\boxed ", "{", "}", "\\", "7", "the answer is ", "####", "#"),
            *("answer ", "answer is correct. ", "the answer is 5? ", "answer: (", "answer: $5$ or ", "####, "),
            *("<answer>", "</answer>", "<answer>answer: ?", "Final Answer\n", "答案", "答：？", "故选"),
        )
    },
}


def least_milliseconds(extract: Callable[[str], str | None], text: str) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        extract(text)
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", nargs="+", type=float, default=[0.25, 0.5, 1.0, 2.0])
    parser.add_argument("--graders", nargs="+", choices=list(GRADERS), default=["strict", "reference", "choice"])
    parser.add_argument("--out", type=Path, default=Path("extract.json"))
    arguments = parser.parse_args()
    sizes = sorted(arguments.megabytes)
    print(f"| grader | completion | {' | '.join(f'{size:g} MB' for size in sizes)} | growth |")
    print(f"|---|---|{'---|' * (len(sizes) + 1)}")
    table: dict[str, dict[str, list[float]]] = {}
    for grader in arguments.graders:
        for name, text in TEXTS.items():
            row = [least_milliseconds(GRADERS[grader].extract, text(int(size * 2**20))) for size in sizes]
            growth = f"{row[-1] / row[-2]:.1f}" if len(row) > 1 and row[-2] > 1 else "—"
            print(f"| {grader} | {name} | {' | '.join(f'{each:.2f}' for each in row)} | {growth} |", flush=True)
            table.setdefault(grader, {})[name] = row
    arguments.out.write_text(json.dumps({"megabytes": sizes, "milliseconds": table}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
