"""A method of your own in one function, one class and one line, trained on the shipped model.

    python examples/custom_method.py            # a CPU, some seconds per step

GRPO with half of NGRPO's push: in all-wrong groups every completion gets -weight / sqrt(G + 1).
"""

import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import torch

from ngrpo import METHODS, GroupMethod, Observer, train
from ngrpo.advantages import grpo_advantages, ngrpo_advantages
from ngrpo.filters import group_kinds

CONFIG = Path(__file__).parents[1] / "configs" / "countdown" / "ngrpo.toml"


def soft_advantages(rewards, *, weight=0.5, valid=None):
    """Returns GRPO's advantages [P, G], and `weight` times NGRPO's in all-wrong groups."""
    all_wrong = group_kinds(rewards, valid=valid).all_wrong[:, None]
    calibrated = weight * ngrpo_advantages(rewards, valid=valid)
    return torch.where(all_wrong, calibrated, grpo_advantages(rewards, valid=valid))


class Soft(GroupMethod):
    """What a config can set; everything that is not named here is as in any method."""

    paper: ClassVar[str] = "none"
    name: Literal["soft"] = "soft"
    weight: float = 0.5

    def advantages(self, rewards, valid=None):
        return soft_advantages(rewards, weight=self.weight, valid=valid)


METHODS["soft"] = Soft


class Print(Observer):
    def on_step(self, step, metrics):
        shown = ("reward/mean", "group/all_wrong", "advantage/from_all_wrong", "update/grad_norm")
        print(f"step {step}: " + ", ".join(f"{name} {metrics[name]:.3f}" for name in shown))


def main(overrides):
    settings = ["method.name=soft", "evaluation.every=0", "run.steps=3", *overrides]
    with tempfile.TemporaryDirectory() as folder:
        train(CONFIG, Path(folder) / "run", overrides=settings, progress=False, observers=[Print()])


if __name__ == "__main__":
    main(sys.argv[1:])
