"""Noticing that a worker of Ray has died, which verl itself would wait for without end."""

from __future__ import annotations

import ray

from ngrpo.errors import TrainingError


class NamedActors:
    """The named actors of this job: verl's samplers, agent loops, graders and trainers all are."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def check(self) -> None:
        """Raises TrainingError when one of those that were alive at an earlier check is no more."""
        alive = set(ray.util.list_named_actors())
        lost = sorted(self._known - alive)
        if lost:
            raise TrainingError(f"the Ray worker {', '.join(lost)} has died; its error, if it left one, stands above")
        self._known = alive
