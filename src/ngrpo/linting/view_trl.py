"""TRL's GRPOConfig, and our NGRPOConfig, as a view; keys and defaults are those of TRL 1.16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ngrpo.linting.view import UNKNOWN, ConfigView, Located, Setting

DEFAULTS: Mapping[str, tuple[str, Any]] = {
    "group_size": ("num_generations", 8),
    "lr": ("learning_rate", 1e-6),
    "passes": ("num_iterations", 1),
    "clip_low": ("epsilon", 0.2),
    "clip_high": ("epsilon_high", None),
    "dual_clip": ("delta", None),
    "kl_coefficient": ("beta", 0.0),
    "loss": ("loss_type", "dapo"),
    "ratio_level": ("importance_sampling_level", "token"),
    "temperature": ("temperature", 1.0),
    "top_p": ("top_p", 1.0),
    "top_k": ("top_k", 0),
    "scale_rewards": ("scale_rewards", "group"),
    "eval_samples": ("num_generations_eval", None),
    "max_completion_tokens": ("max_completion_length", 512),
    "context": ("vllm_max_model_length", None),
    "importance_correction": ("vllm_importance_sampling_correction", True),
    "sync_reference": ("sync_ref_model", False),
    "unused_columns": ("remove_unused_columns", False),
}
"""Neutral name -> TRL's key and default."""

AGGREGATES = {"dapo": "token_mean", "bnpo": "token_mean", "grpo": "sequence_mean", "dr_grpo": "constant"}

Style = Literal["yaml", "json", "python"]


def view_of_trl(
    raw: Mapping[str, Located],
    *,
    style: Style,
    partial: bool = False,
    ours: bool = False,
    repeated: Mapping[str, int] | None = None,
) -> ConfigView:
    """Returns the view of TRL's settings.

    Args:
        raw: the settings that the file gives.
        style: how it is written.
        partial: some settings are not in the file.
        ours: it is an NGRPOConfig, whose unset keys follow its method.
        repeated: keys given twice.
    """
    settings = {name: _setting(raw, key, default) for name, (key, default) in DEFAULTS.items()}
    if settings["clip_high"].value is None:
        settings["clip_high"] = settings["clip_low"]._replace(key="epsilon_high", given=False)
    scale = settings["scale_rewards"]
    scaled = {True: "group", False: "none"}.get(scale.value, scale.value) if isinstance(scale.value, bool) else scale[1]
    settings["scale_rewards"] = scale._replace(value=scaled)
    settings["divides_by_deviation"] = scale._replace(value=scaled != "none")
    settings["method"] = Setting("trainer", "grpo")
    loss = settings["loss"]
    settings["aggregate"] = loss._replace(value=AGGREGATES.get(str(loss.value), UNKNOWN))
    settings["updates_per_step"] = _updates(raw, ours=ours)
    settings["sampler"] = Setting("use_vllm", "vllm" if _plain(raw, "use_vllm", default=False) else "transformers")
    settings["batch"] = _batch(raw)
    settings["filter"] = Setting("filter", "none")
    settings |= _extras(raw)
    if ours:
        _follow_method(raw, settings)
    return ConfigView("trl", raw, settings, partial, repeated or {}, style)


def _setting(raw: Mapping[str, Located], key: str, default: Any) -> Setting:
    if key in raw:
        return Setting(key, raw[key].value, raw[key].line, given=True)
    return Setting(key, default)


def _plain(raw: Mapping[str, Located], key: str, *, default: Any) -> Any:
    """Returns a value, None where it cannot be known."""
    value = raw[key].value if key in raw else default
    return None if value is UNKNOWN else value


def _updates(raw: Mapping[str, Located], *, ours: bool) -> Setting:
    """Returns the optimizer updates per generation: micro-batches per generation times iterations over accumulation."""
    accumulation = _plain(raw, "gradient_accumulation_steps", default=1)
    batch = _plain(raw, "per_device_train_batch_size", default=8)
    iterations = _plain(raw, "num_iterations", default=1)
    key = "steps_per_generation"
    if not all(isinstance(value, int) and value > 0 for value in (accumulation, batch, iterations)):
        return Setting(key, UNKNOWN)
    if "steps_per_generation" in raw:
        steps = _plain(raw, key, default=None)
    elif "generation_batch_size" in raw:
        # Fewer per process the more processes there are: only an upper bound is known.
        size = _plain(raw, "generation_batch_size", default=None)
        steps = accumulation if isinstance(size, int) and size <= batch * accumulation else None
    else:
        steps = accumulation * (_plain(raw, "updates_per_generation", default=4) or 0) if ours else accumulation
    if not isinstance(steps, int) or steps < 1:
        return Setting(key, UNKNOWN)
    return Setting(key, max(1, iterations * steps // accumulation), raw[key].line if key in raw else 0)


def _batch(raw: Mapping[str, Located]) -> Setting:
    """Returns the completions of a generation of one process, or of all where `generation_batch_size` says so."""
    if "generation_batch_size" in raw:
        return _setting(raw, "generation_batch_size", None)
    batch = _plain(raw, "per_device_train_batch_size", default=8)
    steps = _plain(raw, "steps_per_generation", default=_plain(raw, "gradient_accumulation_steps", default=1))
    if not (isinstance(batch, int) and isinstance(steps, int)):
        return Setting("per_device_train_batch_size", UNKNOWN)
    return _setting(raw, "per_device_train_batch_size", None)._replace(value=batch * steps)


def _extras(raw: Mapping[str, Located]) -> dict[str, Setting]:
    """Returns what TRL keeps in tables of other libraries: sampling keywords, the model's dtype, LoRA."""
    found = {}
    for key in ("temperature", "top_p", "top_k"):
        if (value := _inner(raw, "generation_kwargs", key)) is not None:
            found[f"sampled_{key}"] = Setting(f"generation_kwargs.{key}", value.value, value.line, given=True)
    for key in ("dtype", "torch_dtype"):
        dtype = _inner(raw, "model_init_kwargs", key) or raw.get(key)
        if dtype is not None and dtype.value is not UNKNOWN:
            found["weight_dtype"] = Setting("model_init_kwargs.dtype", str(dtype.value), dtype.line, given=True)
    if _plain(raw, "use_peft", default=False):
        found["lora_rank"] = _setting(raw, "lora_r", 16)
    if isinstance(weights := _plain(raw, "reward_weights", default=None), list):
        numbers = [weight for weight in weights if isinstance(weight, int | float)]
        found["top_reward"] = _setting(raw, "reward_weights", None)._replace(value=float(sum(numbers)))
    return found


def _inner(raw: Mapping[str, Located], table: str, key: str) -> Located | None:
    if f"{table}.{key}" in raw:
        return raw[f"{table}.{key}"]
    holder = raw.get(table)
    if holder is None or not isinstance(holder.value, Mapping) or key not in holder.value:
        return None
    return Located(holder.value[key], holder.line)


def _follow_method(raw: Mapping[str, Located], settings: dict[str, Setting]) -> None:
    """Fills in what an NGRPOConfig takes from its method where TRL's keys are not given."""
    from ngrpo.errors import ConfigError
    from ngrpo.methods import load_method

    name = _plain(raw, "method", default="ngrpo")
    table = raw["method_args"].value if "method_args" in raw else {}
    arguments = dict(table) if isinstance(table, Mapping) else {}
    arguments |= {key.partition(".")[2]: value.value for key, value in raw.items() if key.startswith("method_args.")}
    line = raw["method_args"].line if "method_args" in raw else 0
    try:
        method = load_method({**arguments, "name": name})
    except ConfigError:
        return  # the trainer itself says what is wrong
    settings["method"] = Setting("method", name, raw["method"].line if "method" in raw else 0, "method" in raw)
    for neutral in ("clip_low", "clip_high", "kl_coefficient"):
        if not settings[neutral].given:
            settings[neutral] = settings[neutral]._replace(value=getattr(method, neutral))
    if not settings["loss"].given:
        settings["aggregate"] = Setting("loss_type", method.aggregate)
    if not settings["scale_rewards"].given:
        settings["scale_rewards"] = Setting("scale_rewards", UNKNOWN)
    for neutral in ("filter", "max_reward", "num_virtual"):
        if hasattr(method, neutral):
            settings[neutral] = Setting(
                "method_args", getattr(method, neutral), line if neutral in arguments else 0, neutral in arguments
            )
    settings["divides_by_deviation"] = Setting("method", getattr(method, "divides_by_deviation", False))
