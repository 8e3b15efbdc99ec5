"""Reinforcement learning from verifiable rewards: learn from the problems that a model always gets wrong.

    train, evaluate, compare, load_config, RunDir          runs, as the command line makes them
    ngrpo_advantages, grpo_advantages, ...                 pure functions on tensors
    clipped_policy_loss, kl_divergence, gae_advantages
    METHODS, TASKS, load_method, load_task                 what a config can name
    grade, GraderPool, compare_answers, pass_at_k          grading and Pass@k

Importing this package loads nothing heavy; a name is loaded when it is first used.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ngrpo.lazy import lazy_names

if TYPE_CHECKING:
    from ngrpo.advantages import constant_advantages, grpo_advantages, ngrpo_advantages, w_reinforce_advantages
    from ngrpo.api import compare, evaluate, train
    from ngrpo.config import Config, load_config
    from ngrpo.diagnostics import group_metrics
    from ngrpo.evaluation.statistics.pass_at_k import pass_at_k
    from ngrpo.filters import kept_groups
    from ngrpo.gae import gae_advantages
    from ngrpo.grading import GraderPool, compare_answers, grade
    from ngrpo.losses import clipped_policy_loss, kl_divergence
    from ngrpo.methods import METHODS, GroupMethod, load_method
    from ngrpo.runs.observer import Observer
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.tasks import Task, load_task
    from ngrpo.tasks.registry import TASKS

__all__ = [
    "METHODS",
    "TASKS",
    "Config",
    "GraderPool",
    "GroupMethod",
    "Observer",
    "RunDir",
    "Task",
    "clipped_policy_loss",
    "compare",
    "compare_answers",
    "constant_advantages",
    "evaluate",
    "gae_advantages",
    "grade",
    "group_metrics",
    "grpo_advantages",
    "kept_groups",
    "kl_divergence",
    "load_config",
    "load_method",
    "load_task",
    "ngrpo_advantages",
    "pass_at_k",
    "train",
    "w_reinforce_advantages",
]

_MODULES = {
    "ngrpo.advantages": ("constant_advantages", "grpo_advantages", "ngrpo_advantages", "w_reinforce_advantages"),
    "ngrpo.api": ("compare", "evaluate", "train"),
    "ngrpo.config": ("Config", "load_config"),
    "ngrpo.diagnostics": ("group_metrics",),
    "ngrpo.evaluation.statistics.pass_at_k": ("pass_at_k",),
    "ngrpo.filters": ("kept_groups",),
    "ngrpo.gae": ("gae_advantages",),
    "ngrpo.grading": ("GraderPool", "compare_answers", "grade"),
    "ngrpo.losses": ("clipped_policy_loss", "kl_divergence"),
    "ngrpo.methods": ("METHODS", "GroupMethod", "load_method"),
    "ngrpo.runs.observer": ("Observer",),
    "ngrpo.runs.run_dir": ("RunDir",),
    "ngrpo.tasks": ("Task", "load_task"),
    "ngrpo.tasks.registry": ("TASKS",),
}

__getattr__ = lazy_names(__name__, {name: module for module, names in _MODULES.items() for name in names})

try:
    __version__ = version("ngrpo")
except PackageNotFoundError:  # run from a source folder that was never installed
    __version__ = "0+unknown"
