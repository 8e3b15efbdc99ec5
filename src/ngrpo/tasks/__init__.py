"""Tasks: problems to train and evaluate on, and the grader that belongs to them.

A task is chosen by a spec, `NAME` or `NAME:PATH`: `countdown`, `math`, `math500`, `amc23`, `aime2025` (from the Hugging
Face hub, or from a local file after the colon), `gym:NAME` and `file:PATH`.
"""

from __future__ import annotations

from ngrpo.choices import Split
from ngrpo.tasks.registry import load_task
from ngrpo.tasks.task import Task

__all__ = ["Split", "Task", "load_task"]
