"""User seconds until a command has started, and of which imports: the table of docs/performance.md.

    OMP_NUM_THREADS=1 python benchmarks/startup.py [--repeats 5] [--json]

Each case is a fresh interpreter, the cases in turn; the figure is the median of the user seconds, with range. "ready to
train" is what `ngrpo train` needs before its first step: imports, the shipped model, the optimizer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

CASES = {
    "ngrpo --help": (
        "import runpy, sys; sys.argv = ['ngrpo', '--help']; runpy.run_module('ngrpo', run_name='__main__')"
    ),
    "import ngrpo": "import ngrpo",
    "import torch": "import torch",
    "import torch, an AdamW made": "import torch; torch.optim.AdamW([torch.zeros(1, requires_grad=True)])",
    "import transformers' Qwen2": "from transformers import Qwen2ForCausalLM",
    "ready to train": (
        "from ngrpo.training.trainer import Trainer; from ngrpo.config import ModelSettings;"
        "from ngrpo.models import load_language_model; import torch;"
        "settings = ModelSettings(path='builtin:countdown-base', device='cpu', dtype='float32');"
        "model = load_language_model(settings, for_training=True);"
        "torch.optim.AdamW([parameter for _, parameter in model.trained_parameters()])"
    ),
}
IMPORTED = "\nimport sys; print('torch._dynamo' in sys.modules, file=sys.stderr)"


def user_seconds(code: str) -> tuple[float, bool]:
    """User seconds of a fresh interpreter, and whether it has loaded torch._dynamo."""
    wrapped = f"try:\n exec({code!r})\nexcept SystemExit: pass" + IMPORTED
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", wrapped], capture_output=True, check=True, text=True)
    return os.times().children_user - before, done.stderr.strip().endswith("True")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    dynamo = {}
    for _ in range(arguments.repeats):
        for name, code in CASES.items():
            spent, dynamo[name] = user_seconds(code)
            seconds[name].append(spent)
    table = {
        name: {
            "user_seconds": statistics.median(spent),
            "range": [min(spent), max(spent)],
            "torch_dynamo": dynamo[name],
        }
        for name, spent in seconds.items()
    }
    if arguments.json:
        print(json.dumps({"table": table}))
        return
    print("| case | user seconds | range | loads torch._dynamo |\n|---|---|---|---|")
    for name, row in table.items():
        low, high = row["range"]
        loads = "yes" if row["torch_dynamo"] else "no"
        print(f"| {name} | {row['user_seconds']:.2f} | {low:.2f} to {high:.2f} | {loads} |")


if __name__ == "__main__":
    main()
