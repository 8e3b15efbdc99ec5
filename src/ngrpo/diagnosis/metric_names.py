"""Metrics of other tools under our names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

OURS: Mapping[str, tuple[str, ...]] = {
    "reward/mean": ("reward", "critic/rewards/mean", "critic/score/mean", "reward/all/mean", "rewards/mean"),
    "policy/entropy": ("entropy", "actor/entropy", "actor/entropy_loss", "entropy/all/mean"),
    "completion/mean_tokens": ("completions/mean_length", "response_length/mean", "seq_len/all/mean"),
    "completion/truncated": ("completions/clipped_ratio", "response_length/clip_ratio", "is_truncated/all/mean"),
    "policy/approx_kl": ("actor/ppo_kl", "approx_kl"),
    "update/grad_norm": ("grad_norm", "actor/grad_norm", "optim/grad_norm"),
}
"""Our name -> what TRL, verl and prime-rl call it."""
SECOND = ("eval_reward", "eval/reward", "eval_score", "val/accuracy", "eval/accuracy")
"""Metrics that are another verdict on the same policy."""
STEPS = ("step", "_step", "Step", "global_step", "trainer/global_step", "train/global_step")


def renamed(row: Mapping[str, Any]) -> dict[str, float] | None:
    """Returns a step's metrics with our names added to the tool's own, None without a step.

    A prefix that a tracker puts before a name (`train/`, `RUN - `) is left out.
    """
    step = next((number(row[key]) for key in STEPS if key in row and number(row[key]) is not None), None)
    if step is None:
        return None
    found = {_bare(str(name)): value for name, text in row.items() if (value := number(text)) is not None}
    for ours, theirs in OURS.items():
        name = next((name for name in theirs if name in found), None)
        if ours not in found and name is not None:
            found[ours] = found[name]
    return {**found, "step": step}


def verdict_of(metrics: Mapping[str, float]) -> float | None:
    """Returns the second verdict of a step's metrics, None where there is none."""
    validated = (value for name, value in metrics.items() if name.startswith("val-core/") and "/mean@" in name)
    return next((metrics[name] for name in SECOND if name in metrics), next(validated, None))


def _bare(name: str) -> str:
    return name.rpartition(" - ")[2].removeprefix("train/")


def number(value: Any) -> float | None:
    """Returns a finite number of a cell, None for anything else."""
    if isinstance(value, bool):
        return float(value)
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def text(value: Any) -> str | None:
    """Returns the text of a cell; of chat messages the contents, one after another."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(str(item.get("content", "")) if isinstance(item, dict) else str(item) for item in value)
    return str(value)
