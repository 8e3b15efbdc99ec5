"""`[cluster.overrides]`: raw settings of verl, beside those that a config of ours becomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ngrpo.engines.verl.hydra import hydra_override, hydra_value
from ngrpo.errors import ConfigError

Values = dict[str, Any]

FREE = frozenset(
    (
        "actor_rollout_ref.actor.entropy_checkpointing",
        "actor_rollout_ref.actor.entropy_from_logits_with_chunking",
        "actor_rollout_ref.actor.fsdp_config.model_dtype",
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu",
        "actor_rollout_ref.actor.strategy",
        "actor_rollout_ref.actor.use_dynamic_bsz",
        "actor_rollout_ref.model.override_config.attn_implementation",
        "actor_rollout_ref.model.use_remove_padding",
        "actor_rollout_ref.ref.fsdp_config.param_offload",
        "actor_rollout_ref.rollout.dtype",
        "actor_rollout_ref.rollout.enforce_eager",
        "actor_rollout_ref.rollout.gpu_memory_utilization",
        "actor_rollout_ref.rollout.load_format",
        "actor_rollout_ref.rollout.max_num_seqs",
        "critic.fsdp.strategy",
        "critic.ppo_max_token_len_per_gpu",
        "critic.strategy",
        "ray_kwargs.ray_init.include_dashboard",
        "ray_kwargs.ray_init.num_cpus",
        "ray_kwargs.ray_init.object_store_memory",
        "trainer.project_name",
        "trainer.experiment_name",
    )
)
"""Keys that we set and that may be set otherwise: they change speed, memory or names, not what is trained."""


def with_raw(values: Mapping[str, Any], raw: Mapping[str, Any]) -> Values:
    """Returns the settings of a config with raw ones added, dotted keys in place of tables.

    Args:
        values: Hydra key (with `+` where verl's schema does not know it) -> value.
        raw: `[cluster.overrides]`.

    Raises:
        ConfigError: for a raw key that the rest of the config decides.
    """
    out, ours = dict(values), {key.lstrip("+"): key for key in values}
    for key, value in flat(raw):
        name = key.lstrip("+")
        if name not in ours:
            out[key] = value
        elif name in FREE:
            out[ours[name]] = value
        else:
            raise ConfigError(
                f"[cluster.overrides] '{name}' follows from the rest of the config, where it is "
                f"{hydra_value(values[ours[name]])}: change it there"
            )
    return out


def flat(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted keys and their values; an empty table is a value.

    >>> list(flat({"a": {"b.c": 1, "d": {}}, "+e": [2]}))
    [('a.b.c', 1), ('a.d', {}), ('+e', [2])]
    """
    for key, value in raw.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check_schema(raw: Mapping[str, Any]) -> bool:
    """Checks raw settings against verl's configuration; returns false where verl is not installed.

    Raises:
        ConfigError: for a key that verl does not have, or a value of another form.
    """
    verl = find_spec("verl")
    if verl is None or not verl.submodule_search_locations or find_spec("hydra") is None:
        return False
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder = Path(next(iter(verl.submodule_search_locations))) / "trainer" / "config"
    with initialize_config_dir(str(folder), version_base=None):
        for key, value in flat(raw):
            try:
                was = OmegaConf.select(compose("ppo_trainer"), key) if not key.startswith("+") else None
                now = OmegaConf.select(compose("ppo_trainer", overrides=[hydra_override(key, value)]), key.lstrip("+"))
            except (HydraException, OmegaConfBaseException):
                raise ConfigError(
                    f"[cluster.overrides] verl has no setting '{key}'; one that its schema leaves open begins with '+'"
                ) from None
            if isinstance(was, bool | int | float | str) and not _fits(was, now):
                raise ConfigError(
                    f"[cluster.overrides] '{key}' is {hydra_value(value)}, but verl's default is {hydra_value(was)}: "
                    "give a value of this kind"
                )
    return True


def _fits(was: bool | float | str, now: Any) -> bool:
    """Returns whether a value is of the kind of a default; numbers of either kind, and null, are."""
    if now is None or isinstance(was, bool) or isinstance(now, bool):
        return now is None or isinstance(was, bool) == isinstance(now, bool)
    return isinstance(now, str) == isinstance(was, str)
