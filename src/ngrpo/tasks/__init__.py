"""Tasks: problems to train and evaluate on, and the grader that belongs to them.

A task is chosen by a spec, `NAME` or `NAME:PATH`: `countdown`; `math`, `gsm8k`, `aime2025` and the other data sets of
`hub_sources.py` (from the Hugging Face hub, or from a local file after the colon); `gym:NAME`; `verifiers:NAME`;
`hub:OWNER/NAME`; `file:PATH`.
"""

from __future__ import annotations

from ngrpo.choices import Split
from ngrpo.tasks.registry import load_task
from ngrpo.tasks.task import Task

__all__ = ["Split", "Task", "load_task"]
