"""Makes a rollout dump and a metrics log of a real run of verl with the shipped model, on a CPU.

In an environment that has verl:

    python tests/diagnosis/make_verl_dump.py FOLDER

writes FOLDER/dump/2.jsonl and FOLDER/run/verl/metrics.jsonl, which are the tests' data/verl_dump.jsonl and
data/verl_metrics.jsonl.
"""

import sys
from pathlib import Path

import ngrpo
import ngrpo.engines.verl.run as of_verl

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "grpo.toml"
SETTINGS = (
    "cluster.device=cpu",
    "run.steps=2",
    "sampling.problems_per_step=16",
    "sampling.group_size=4",
    "optimizer.updates_per_step=2",
    "evaluation.every=0",
)


def main(folder: Path) -> None:
    """Trains for two steps of 16 groups of 4, with verl's own dump of its rollouts."""
    folder = folder.resolve()
    original = of_verl.verl_command
    dumped = f"trainer.rollout_data_dir={folder / 'dump'}"
    of_verl.verl_command = lambda *given, **named: [*original(*given, **named), dumped]
    ngrpo.train(CONFIG, folder / "run", overrides=SETTINGS, engine="verl")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
