"""Our config as a view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngrpo.config import Config, config_of
from ngrpo.linting.view import ConfigView, Located, Setting

KEYS: Mapping[str, str] = {
    "method": "method.name",
    "group_size": "sampling.group_size",
    "problems_per_step": "sampling.problems_per_step",
    "passes": "optimizer.passes_per_step",
    "updates_per_step": "optimizer.updates_per_step",
    "lr": "optimizer.lr",
    "clip_low": "method.clip_low",
    "clip_high": "method.clip_high",
    "loss": "method.loss",
    "aggregate": "method.aggregate",
    "kl_coefficient": "method.kl_coefficient",
    "kl_estimator": "method.kl_estimator",
    "kl_in_reward": "method.reward_kl_coefficient",
    "filter": "method.filter",
    "refill": "method.refill",
    "refill_limit": "method.max_refill_factor",
    "num_virtual": "method.num_virtual",
    "max_reward": "method.max_reward",
    "overlong_buffer": "method.overlong_buffer_tokens",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "sampler": "sampling.sampler",
    "old_logprobs": "sampling.old_logprobs",
    "importance_cap": "sampling.importance_cap",
    "max_completion_tokens": "sampling.max_completion_tokens",
    "lora_rank": "model.lora.rank",
    "eval_samples": "evaluation.samples",
    "eval_temperature": "evaluation.temperature",
    "eval_every": "evaluation.every",
    "eval_max_completion_tokens": "evaluation.max_completion_tokens",
}
"""Neutral name -> TABLE.KEY; a name whose key the method or the model does not have is absent."""


def view_of_tables(raw: Mapping[str, Located], tables: Mapping[str, Any]) -> ConfigView:
    """Returns the view of a file's tables.

    Args:
        raw: the file's flat settings with their lines.
        tables: the same, nested, perhaps with overrides.

    Raises:
        ConfigError: as `config_of`.
    """
    return view_of_config(config_of(tables), raw)


def view_of_config(config: Config, raw: Mapping[str, Located] | None = None) -> ConfigView:
    """Returns the view of a checked config; what differs from its default counts as given."""
    lines = raw or {}
    settings = {}
    for name, key in KEYS.items():
        *tables, last = key.split(".")
        holder: Any = config
        for table in tables:
            holder = getattr(holder, table, None)
        if holder is None or last not in type(holder).model_fields:
            continue
        value = getattr(holder, last)
        given = key in lines or value != type(holder).model_fields[last].default
        settings[name] = Setting(key, value, lines[key].line if key in lines else 0, given)
    settings["divides_by_deviation"] = Setting("method.name", getattr(config.method, "divides_by_deviation", False))
    settings["top_reward"] = Setting("task.name", config.task.max_reward)
    settings["importance_correction"] = Setting("sampling.importance_cap", config.sampling.importance_cap > 0)
    settings["uses_sampler_logprobs"] = Setting("sampling.old_logprobs", config.sampling.old_logprobs == "sampler")
    settings["dead_groups_train"] = Setting("method.name", config.method.trains_on_zero_advantage)
    return ConfigView("ngrpo", lines, settings, style="set")
