"""A warning about methods that push the probability of completions down where a group has no correct one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ngrpo.methods import GroupMethod, Method

FIRST_STEPS = 5
"""Steps in which a warning may come; later the share is a result of training."""
HIGH_SHARE = 0.7
"""Share of all-wrong groups that is high: nobody measured where harm begins, between about 0.4 and 0.75."""
SEEN = "at 75-100 % all-wrong groups NGRPO took a 135M language model from Pass@1 14 to 1 and 3 in 20 steps, GRPO to 27"
"""What was seen in two runs with two seeds."""


def pushes_all_wrong_groups(method: Method, group_size: int) -> bool:
    """Returns whether a group without a correct completion enters the batch with negative advantages.

    >>> from ngrpo.methods import NGRPO, load_method
    >>> [pushes_all_wrong_groups(load_method({"name": name}), 8) for name in ("ngrpo", "psr_nsr", "grpo", "dapo")]
    [True, True, False, False]
    """
    if not isinstance(method, GroupMethod) or method.needs_entropies or method.filter in {"all", "all_incorrect"}:
        return False
    return bool((method.advantages(torch.zeros(1, group_size)) < 0).any())


def all_wrong_warning(method: Method, group_size: int, step: int, metrics: Mapping[str, Any]) -> str | None:
    """Returns the line that warns of a high share of all-wrong groups in one of the first steps, None without reason.

    Args:
        method: what is trained.
        group_size: completions of a group.
        step: counted from 1.
        metrics: of the step; `group/all_wrong` and `advantage/from_all_wrong` are read.
    """
    share = metrics["group/all_wrong"]
    if step > FIRST_STEPS or share < HIGH_SHARE or not pushes_all_wrong_groups(method, group_size):
        return None
    return (
        f"step {step}: {share:.0%} of the groups are all-wrong and {method.name} pushes all of them down "
        f"({metrics['advantage/from_all_wrong']:.0%} of all advantage): {SEEN}; easier problems ([task] levels, "
        "solve_rate), a lower [optimizer] lr or larger groups may help"
    )
