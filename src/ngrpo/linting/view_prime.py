"""prime-rl's TOML as a view: a config of its `rl` entry point, or of the orchestrator or the trainer alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngrpo.linting.view import ConfigView, Located, Setting

ORCHESTRATOR = "orchestrator."
DEFAULTS: Mapping[str, tuple[str, Any]] = {
    "algorithm": ("orchestrator.algo.type", "grpo"),
    "group_size": ("orchestrator.group_size", 1),
    "batch": ("orchestrator.batch_size", 128),
    "staleness": ("orchestrator.max_off_policy_steps", 8),
    "temperature": ("orchestrator.train.sampling.temperature", 1.0),
    "max_completion_tokens": ("orchestrator.train.sampling.max_completion_tokens", None),
    "sampled_temperature": ("orchestrator.train.sampling.extra_body.temperature", None),
    "top_p": ("orchestrator.train.sampling.extra_body.top_p", 1.0),
    "top_k": ("orchestrator.train.sampling.extra_body.top_k", -1),
    "min_p": ("orchestrator.train.sampling.extra_body.min_p", 0.0),
    "filters_zero": ("orchestrator.train.filter_zero_advantages", True),
    "eval_samples": ("orchestrator.eval.group_size", 1),
    "eval_temperature": ("orchestrator.eval.sampling.temperature", None),
    "lr": ("trainer.optim.lr", 1e-6),
    "weight_dtype": ("trainer.model.optimization_dtype", "float32"),
    "clip_low": ("trainer.loss.dppo_mask_low", 0.2),
    "clip_high": ("trainer.loss.dppo_mask_high", 0.2),
    "kl_coefficient": ("trainer.loss.kl_tau", 1e-3),
    "context": ("orchestrator.seq_len", 2048),
    "vllm_context": ("inference.vllm.max_model_len", None),
}
"""Neutral name -> prime-rl's key and default."""

METHODS = {"grpo": "dr_grpo", "echo": "dr_grpo", "max_rl": "maxrl"}
"""prime-rl's `grpo` subtracts the group mean and does not divide."""


def view_of_prime(raw: Mapping[str, Located]) -> ConfigView:
    """Returns the view of prime-rl's settings."""
    flat = raw if any(key.startswith(("orchestrator", "trainer")) for key in raw) else _nested(raw)
    settings = {}
    for name, (key, default) in DEFAULTS.items():
        found = flat.get(key)
        settings[name] = Setting(key, found.value, found.line, given=True) if found else Setting(key, default)
    if not settings["context"].given and "seq_len" in flat:
        settings["context"] = Setting("seq_len", flat["seq_len"].value, flat["seq_len"].line, given=True)
    if not settings["group_size"].given and (own := flat.get("orchestrator.train.source.group_size")):
        settings["group_size"] = Setting("orchestrator.train.source.group_size", own.value, own.line, given=True)
    if "orchestrator.token_batch_size" in flat:
        del settings["batch"]
    algorithm = settings["algorithm"]
    settings["method"] = algorithm._replace(value=METHODS.get(str(algorithm.value), algorithm.value))
    settings["sampler"] = Setting("inference", "vllm")
    settings["uses_sampler_logprobs"] = Setting("trainer.loss.type", value=True)
    rank = flat.get("trainer.model.lora.rank")
    if rank or "trainer.model.lora" in flat:
        settings["lora_rank"] = Setting("trainer.model.lora.rank", rank.value if rank else 16, rank.line if rank else 0)
    return ConfigView("prime-rl", flat, settings, partial=not _is_whole(flat), style="option")


def _is_whole(flat: Mapping[str, Located]) -> bool:
    """Returns whether a file says what is trained on; an overlay of another file does not, nor a trainer alone."""
    return any(key.startswith("orchestrator.train.source") for key in flat)


def _nested(raw: Mapping[str, Located]) -> dict[str, Located]:
    """Returns the keys of a file for the orchestrator or the trainer alone under those of the whole."""
    table = "orchestrator" if {"train", "group_size", "batch_size"} & raw.keys() else "trainer"
    return {f"{table}.{key}": value for key, value in raw.items()}
