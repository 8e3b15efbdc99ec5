"""Noticing that a worker of Ray has died, which verl itself would wait for without end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_OF_GRACE = 10.0
"""Between noticing and ending: verl may be ending by itself, for a reason of its own."""
_QUEUE = "transfer_queue"
"""The namespace of verl's transfer queue; all other workers of a run are in that of its job."""


class WorkerWatch:
    """Ends this process, verl's trainer, when a named worker is no more: samplers, agents, graders, trainers, queue.

    A thread of its own, because what waits for a dead worker does not come back to look.

    Args:
        path: the file that the reason is written to; in the log it would drown among what the others print.
        on_look: is called at each look with the names of those that are alive.
    """

    def __init__(self, path: Path, on_look: Callable[[set[str]], None] = lambda _: None) -> None:
        self._path, self._on_look = path, on_look
        self._over = threading.Event()

    def begin(self) -> None:
        """Starts watching: whoever is there at one look has to be there at the next."""
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Stops watching: verl is about to end its workers itself."""
        self._over.set()

    def _watch(self) -> None:
        known: set[str] = set()
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            alive = _named_workers()
            if lost := sorted(known - alive):
                self._over.wait(_SECONDS_OF_GRACE)
                self._path.write_text(f"the Ray worker {', '.join(lost)} has died", encoding="utf-8")
                os._exit(1)
            known = alive
            self._on_look(alive)


def _named_workers() -> set[str]:
    import ray

    ours = {ray.get_runtime_context().namespace, _QUEUE}
    return {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] in ours}
