"""The `[vllm]` table; importing it loads no vLLM."""

from __future__ import annotations

from pydantic import Field

from ngrpo.settings import Settings


class VLLMSettings(Settings):
    """vLLM in this process, where [sampling] sampler is 'vllm'."""

    memory_share: float = Field(0.4, gt=0.0, le=1.0)
    """Share of the GPU's memory for vLLM's weights and key-value cache; training needs the rest."""
    cpu_cache_gib: int = Field(1, ge=1)
    """Key-value cache on a CPU, in GiB."""
    enforce_eager: bool = False
    """Run without CUDA graphs and compilation: a quicker start, slower sampling."""
