"""Writes Countdown's training questions with a reference that no completion reaches: a control of the study.

    python scripts/make_unsolvable.py models/unsolvable.jsonl [--problems 2000]

Every group is all-wrong, so what a method does here is its push alone; evaluate on `countdown` itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ngrpo.storage import json_line
from ngrpo.tasks.countdown import Countdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--problems", type=int, default=2_000)
    given = parser.parse_args()
    problems = Countdown().problems("train")[: given.problems]
    given.path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json_line({"id": p.id, "question": p.question, "answer": "no such answer"}) for p in problems)
    given.path.write_bytes(b"".join(lines))
    print(f"{len(problems):,} problems: {given.path}")


if __name__ == "__main__":
    main()
