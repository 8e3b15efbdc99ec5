"""The `[cluster]` table; importing it loads no Ray."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ngrpo.settings import Settings


class ClusterSettings(Settings):
    """Where `ngrpo train --engine verl` runs."""

    nodes: int = Field(1, ge=1)
    """Machines."""
    gpus_per_node: int = Field(8, ge=1)
    """GPUs of each machine; with device 'cpu', worker processes, 1 where nothing is said."""
    tensor_parallel_size: int = Field(1, ge=1)
    """GPUs that sample completions together, each with a part of the model."""
    memory_share: float = Field(0.6, gt=0.0, le=1.0)
    """Share of each GPU's memory for the weights and the key-value cache of vLLM while it samples."""
    ray_address: str = ""
    """Address of a Ray cluster that runs already, such as 'auto'; empty starts one on this machine."""
    device: Literal["cuda", "cpu"] = "cuda"
    """What it runs on; 'cpu' is for trying a config out, without vLLM."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """Raw settings of verl by their own keys, dotted or as tables, such as
    "actor_rollout_ref.actor.fsdp_config.param_offload" = true; not those that the rest of the config decides. Checked
    against verl's schema where verl is installed, shown by --dry-run."""

    @model_validator(mode="before")
    @classmethod
    def _one_worker_without_gpus(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("device") == "cpu":
            return {"gpus_per_node": 1, **table}
        return table
