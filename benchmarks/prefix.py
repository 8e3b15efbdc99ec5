"""An update that reads each prompt once per group beside one that reads it once per completion: our own both.

    OMP_NUM_THREADS=1 python benchmarks/prefix.py [--repeats 3] [--groups 4] [--prompts 60 200 1000] [--json]

The model of train_step.py, groups of 8, completions of 200 tokens, one update. Prints ratios of user time (rows over
packs) and of peak memory (packs over rows), and the cosine between the two gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from paired import Work, in_turns, memory, parser, ratio, shown, user
from train_step import VOCABULARY, gradient, random_model, tokenizer

GROUP, COMPLETION = 8, 200


def update(packed: bool, prompt: int, groups: int) -> Work:
    import torch

    from ngrpo.config import OptimizerSettings
    from ngrpo.methods import load_method
    from ngrpo.models import LanguageModel
    from ngrpo.training.allocator import keep_freed_memory
    from ngrpo.training.batch import TrainingRow
    from ngrpo.training.update import PolicyUpdater

    keep_freed_memory()
    lm = LanguageModel(random_model(), tokenizer(), torch.device("cpu"), torch.float32)
    assert lm.packs
    vars(lm)["packs"] = packed
    updater = PolicyUpdater(
        lm,
        None,
        load_method({"name": "ngrpo", "entropy_bonus": 0.0}),
        OptimizerSettings.parse({}),
        temperature=1.0,
        max_completion_tokens=COMPLETION,
    )
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, VOCABULARY, size=prompt) for _ in range(groups)]
    rows = [
        TrainingRow(
            prompts[i // GROUP],
            rng.integers(2, VOCABULARY, size=COMPLETION),
            np.full(COMPLETION, -9.0, dtype=np.float32),
            np.full(COMPLETION, rng.normal(), dtype=np.float32),
        )
        for i in range(groups * GROUP)
    ]

    def work() -> Any:
        updater.optimizer.zero_grad(set_to_none=True)
        updater.accumulate_gradient(rows, updater.denominator(rows))
        return gradient(lm.model)

    return work


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--groups", type=int, default=4)
    options.add_argument("--prompts", nargs="*", type=int, default=[60, 200, 1000])
    given = options.parse_args()
    result: dict[str, Any] = {"groups": given.groups, "completion": COMPLETION}
    for prompt in given.prompts:
        shape = prompt, given.groups
        found = in_turns({"packs": (update, True, *shape), "rows": (update, False, *shape)}, given.repeats)
        a, b = (found[name][0].facts.astype("f8") for name in ("packs", "rows"))
        result[f"ratio_{prompt}"] = ratio(found["rows"], found["packs"], user)
        result[f"memory_{prompt}"] = ratio(found["packs"], found["rows"], memory)
        result[f"cosine_{prompt}"] = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    shown(result, as_json=given.json)


if __name__ == "__main__":
    main()
