"""Every speed benchmark in turn, and the tables of docs/performance.md from what they found.

    python benchmarks/all.py [--only sample prefix] [--repeats 3] [--trl PYTHON]
    python benchmarks/all.py --recompute                the tables alone, from docs/results/performance.json

Each benchmark is a process of its own with one thread; its JSON replaces its part of docs/results/performance.json as
soon as it ends. `--trl` is the interpreter of an environment with TRL, which train_step.py needs: without it that one
is left out. About an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, RAW = HERE.parent / "docs/performance.md", HERE.parent / "docs/results/performance.json"
Result = Mapping[str, Any]
ARGUMENTS = {"passk": ["--problems", "500"]}
"""What a benchmark is given beside --json."""
CASES = {
    "dead_groups": "70 % of groups without advantage, 10 to 200 tokens",
    "all_alive": "all groups with advantage, 10 to 200 tokens",
    "equal": "all groups with advantage, 105 tokens each",
    "entropy": "first row, with the default entropy bonus of 0.001",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def shown(found: Result, digits: int = 2) -> str:
    """A median with its range, where there is one."""
    low, high = found.get("range") or (found["least"], found["largest"])
    middle = f"{found['median']:.{digits}f}"
    return middle if low == high else f"{middle} ({low:.{digits}f} to {high:.{digits}f})"


def train_step(found: Result) -> list[str]:
    rows = []
    for case, text in CASES.items():
        for updates in (1, 4):
            name = f"{case}_{updates}_updates" if updates > 1 else case
            if f"ratio_{name}" in found:
                figures = (f"ratio_{name}", f"ratio_with_kernel_{name}", f"memory_{name}")
                rows.append([text, str(updates), *(shown(found[f]) for f in figures), f"{found[f'cosine_{name}']:.9f}"])
    head = ["rollouts", "updates", "TRL's time / ours", "with kernel time", "our peak memory / TRL's", "least cosine"]
    return table(head, rows)


def logprobs(found: Result) -> list[str]:
    rows = [
        ["plain torch", "1", f"{found['plain_megabytes']:,.0f} MB"],
        ["ours", shown(found["time_of_plain"]), f"{found['megabytes']:,.0f} MB"],
        [
            "ours, with the entropy's gradient",
            shown(found["time_of_plain_with_entropy"]),
            f"{found['megabytes_with_entropy']:,.0f} MB",
        ],
    ]
    return table(["loss", "time / plain's", "memory at the peak"], rows)


def prefix(found: Result) -> list[str]:
    prompts = sorted(int(name.split("_")[1]) for name in found if name.startswith("ratio_"))
    rows = [[f"{p:,} tokens", shown(found[f"ratio_{p}"]), shown(found[f"memory_{p}"])] for p in prompts]
    return table(["prompt", "time of rows / of packs", "memory of packs / of rows"], rows)


def countdown_step(found: Result) -> list[str]:
    seconds = shown(found["seconds_per_step"])
    row = [seconds, f"{found['seconds_of_updates']:.2f}", f"{found['rollouts_per_second']:,.0f}"]
    return table(["CPU seconds per step", "of which updates", "rollouts per second"], [row])


def sample(found: Result) -> list[str]:
    beside = {"generate": "transformers' `generate`", "loop": "a hand-written loop", "products": "the bare products"}
    lengths = {"spread": "10 to 200", "equal": "all 105"}
    rows = [
        [text, other, shown(found["table"][name][f"ratio_{key}"])]
        for name, text in lengths.items()
        for key, other in beside.items()
    ]
    return table(["tokens of a completion", "beside", "their time / ours"], rows)


def scaling(found: Result) -> list[str]:
    names = {
        "rollouts": "rollouts",
        "length": "tokens of a completion",
        "vocabulary": "vocabulary",
        "group": "group size, as many rollouts",
    }
    rows = []
    for axis, text in names.items():
        update, sampling = found[f"update_{axis}"], found[f"sampling_{axis}"]
        sizes = update["sizes"]
        powers = (update["exponent"], update["exponent_memory"], sampling["exponent"], sampling["exponent_memory"])
        rows.append([text, f"{sizes[0]:,} to {sizes[-1]:,}", *(f"{power:.2f}" for power in powers)])
    return table(["what grows", "from, to", "update: time", "memory", "sampling: time", "memory"], rows)


def advantages(found: Result) -> list[str]:
    by_shape: Result = found["microseconds"]
    names = list(next(iter(by_shape.values())))
    rows = [[shape, *(f"{row[name]:,.0f}" for name in names)] for shape, row in by_shape.items()]
    return table(["rewards", *names], rows)


def startup(found: Result) -> list[str]:
    rows = [
        [
            f"`{name}`" if name.startswith(("ngrpo", "import ")) and "'" not in name and "," not in name else name,
            shown({"median": row["user_seconds"], "range": row["range"]}),
            "yes" if row["torch_dynamo"] else "no",
        ]
        for name, row in found["table"].items()
    ]
    return table(["case", "user seconds", "loads torch._dynamo"], rows)


def passk(found: Result) -> list[str]:
    names = {
        "ngrpo": "`ngrpo passk`",
        "majority": "with `--majority`",
        "reference": "the reference's algorithm, without intervals",
    }
    rows = [
        [names.get(name, name), f"{run['processor_seconds']:.2f}", f"{run['peak_bytes'] / 1e6:,.0f} MB"]
        for name, run in found["table"].items()
    ]
    return table(["contender", "processor seconds, with imports", "peak memory"], rows)


BENCHMARKS: tuple[Callable[[Result], list[str]], ...] = (
    train_step,
    logprobs,
    prefix,
    countdown_step,
    sample,
    scaling,
    advantages,
    startup,
    passk,
)
TABLES = {made.__name__: made for made in BENCHMARKS}
"""What makes the table of each benchmark, by the benchmark's name."""


def measured(name: str, repeats: int | None, python: str) -> Any:
    """Runs a benchmark and returns its JSON."""
    command = [python, str(HERE / f"{name}.py"), "--json", *ARGUMENTS.get(name, [])]
    command += [] if repeats is None else ["--repeats", str(repeats)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout)


def with_tables(page: str, raw: Mapping[str, Result]) -> str:
    """Returns the page with the table of each benchmark between its two comments."""
    for name, found in raw.items():
        mark = re.compile(rf"(<!-- table of {name}\.py -->\n).*?(<!-- end -->)", re.DOTALL)
        place = mark.search(page)
        if place is None:
            raise SystemExit(f"{PAGE} has no place for the table of {name}.py")
        before, after = page[: place.end(1)], page[place.start(2) :]
        page = "\n".join([before, *TABLES[name](found), "", after])
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(TABLES), default=list(TABLES))
    parser.add_argument(
        "--repeats", type=int, help="paired measurements of each; each benchmark's own number if absent"
    )
    parser.add_argument("--trl", help="Python of an environment with TRL")
    parser.add_argument("--recompute", action="store_true", help="make the tables again, measure nothing")
    given = parser.parse_args()
    raw: dict[str, Any] = json.loads(RAW.read_text("utf-8")) if RAW.exists() else {}
    for name in [] if given.recompute else given.only:
        if name == "train_step" and given.trl is None:
            print("train_step is left out: it needs --trl", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        raw[name] = measured(name, given.repeats, given.trl if name == "train_step" else sys.executable)
        RAW.write_text(json.dumps(raw, indent=1) + "\n", "utf-8")
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), raw), "utf-8")


if __name__ == "__main__":
    main()
