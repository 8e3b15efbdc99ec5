"""Two things that verl does to models and only an accelerator can; replaced in every worker by `platform`."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.fsdp import CPUOffloadPolicy
from verl.utils import model
from verl.workers.engine.fsdp import transformer_impl


def value_model(local_path: str, torch_dtype: torch.dtype, model_config: Any, trust_remote_code: bool) -> Any:
    """Returns PPO's critic, loaded as verl does but for the attention, which it asks of a package for GPUs."""
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(
        local_path,
        dtype=torch_dtype,
        config=model_config,
        attn_implementation="sdpa",
        trust_remote_code=trust_remote_code,
    )


def unpinned(pin_memory: bool = True) -> CPUOffloadPolicy:  # noqa: ARG001
    """Returns the policy of a reference model (KL) that is kept in ordinary memory."""
    return CPUOffloadPolicy(pin_memory=False)


def replace() -> None:
    """Puts them in the place of verl's."""
    model.load_valuehead_model = value_model
    transformer_impl.CPUOffloadPolicy = unpinned
