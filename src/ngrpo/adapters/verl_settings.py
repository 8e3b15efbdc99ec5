"""The settings of our estimators, checked with the rest of verl's config instead of at the first advantage."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ngrpo.adapters.verl_names import method_of
from ngrpo.errors import ConfigError


def settings_of(algorithm: Any) -> dict[str, Any]:
    """Returns the table `algorithm.ngrpo` as a plain dict: verl hands over a DictConfig, a dataclass or nothing.

    >>> settings_of({"ngrpo": {"num_virtual": 2}}), settings_of(None)
    ({'num_virtual': 2}, {})
    """
    found = algorithm.get("ngrpo", None) if hasattr(algorithm, "get") else None
    if found is None:
        return {}
    if type(found).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        found = OmegaConf.to_container(found, resolve=True)
    if not isinstance(found, dict):
        raise ConfigError(f"algorithm.ngrpo must be a table of settings, got {found!r}")
    return {str(key): value for key, value in found.items()}


def check_settings(config: Any, methods: dict[str, str]) -> None:
    """Checks `algorithm.ngrpo` of a whole config of verl, where its estimator is one of ours.

    Args:
        config: has `algorithm.adv_estimator`.
        methods: estimator name -> method name.

    Raises:
        ConfigError: for a setting that the estimator does not have, with those it has, or a wrong value.
    """
    algorithm = config.algorithm
    method = methods.get(str(algorithm.get("adv_estimator", "")))
    if method is not None:
        method_of(method, settings_of(algorithm))


def check_with_verl(methods: dict[str, str]) -> None:
    """Makes verl's own check of a config, which its entry point calls before it starts Ray, check our settings too.

    verl has no hook for it: its function is wrapped where `verl.trainer.main_ppo` is about to import it from.
    """
    import verl.utils.config as of_verl

    original: Callable[..., Any] = of_verl.validate_config
    if hasattr(original, "checks_ngrpo"):
        return

    @wraps(original)
    def validate_config(config: Any, *arguments: Any, **named: Any) -> Any:
        try:
            check_settings(config, methods)
        except ConfigError as error:
            raise _compact(error) from None
        return original(config, *arguments, **named)

    validate_config.checks_ngrpo = True  # type: ignore[attr-defined]
    of_verl.validate_config = validate_config


def _compact(error: ConfigError) -> ConfigError:
    """Returns an error that Hydra prints without a traceback."""
    from hydra.errors import CompactHydraException

    kind = type("SettingsError", (ConfigError, CompactHydraException), {"__module__": __name__})
    compact: ConfigError = kind(str(error))
    return compact
