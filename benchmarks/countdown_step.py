"""CPU seconds of a whole training step on Countdown: 512 rollouts sampled, graded, and 4 updates, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/countdown_step.py [--repeats 3] [--steps 20] [--json]

Runs configs/countdown/ngrpo.toml from its start, in a fresh process per repeat; the first two steps are not counted.
Prints user and kernel time per step together, the share of the updates in it, and the rate.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import Cost, Meter, Work, in_turns, parser, shown, total

CONFIG = Path(__file__).parent.parent / "configs/countdown/ngrpo.toml"


def run(steps: int) -> Work:
    from ngrpo.config import load_config
    from ngrpo.runs.observer import Observer
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.training.trainer import Trainer

    def work() -> Cost:
        config = load_config(CONFIG, overrides=[])
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(config, RunDir.create(Path(folder) / "run", config.to_json(), seed=0), Observer())
            for step in (1, 2):
                trainer.step(step)
            updating = [0.0]
            learner = trainer.learner
            take_updates = learner.take_updates

            def timed(*arguments: Any, **options: Any) -> Any:
                began = time.process_time()
                try:
                    return take_updates(*arguments, **options)
                finally:
                    updating[0] += time.process_time() - began

            learner.take_updates = timed  # type: ignore[method-assign]
            meter = Meter()
            for step in range(3, steps + 3):
                trainer.step(step)
            return meter.cost(updating[0])

    return work


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=20)
    given = options.parse_args()
    costs = in_turns({"ours": (run, given.steps)}, given.repeats, warm=0)["ours"]
    seconds = [total(cost) / given.steps for cost in costs]
    result = {
        "seconds_per_step": {"median": statistics.median(seconds), "least": min(seconds), "largest": max(seconds)},
        "seconds_of_updates": statistics.median(cost.facts / given.steps for cost in costs),
        "rollouts_per_second": 512 / statistics.median(seconds),
    }
    shown(result, as_json=given.json)


if __name__ == "__main__":
    main()
