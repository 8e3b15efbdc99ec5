"""Config values that training switches off: dropout, jitter, router logits; a saved model has its own values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_THRESHOLDS = {"phimoe": {"router_jitter_noise"}}
"""By model type: values whose name looks like noise and which also decide the forward pass of evaluation.

Phi-MoE's sparsemixer masks the experts whose logit is further than 2 x router_jitter_noise below the best.
"""


@dataclass(frozen=True, slots=True)
class QuietConfig:
    """What was changed in a config: (part, key, value before); a part is '' or the name of a nested config."""

    changed: tuple[tuple[str, str, Any], ...] = ()

    @classmethod
    def of(cls, config: Any) -> QuietConfig:
        """Sets every dropout and jitter of a config to 0 and its router logits off.

        A ratio of two passes that drop different units means nothing; the auxiliary loss of router logits is not
        trained, and with a key-value cache it cannot be computed.
        """
        changed = []
        for part in ["", *getattr(config, "sub_configs", {})]:
            settings = _part(config, part)
            for key, quiet in _quiet_values(settings) if settings is not None else []:
                changed.append((part, key, getattr(settings, key)))
                setattr(settings, key, quiet)
        return cls(tuple(changed))

    @contextmanager
    def original(self, config: Any) -> Iterator[None]:
        """The values before the change, for the time of the context: what a checkpoint's config.json holds."""
        quiet = [getattr(_part(config, part), key) for part, key, _ in self.changed]
        for part, key, value in self.changed:
            setattr(_part(config, part), key, value)
        try:
            yield
        finally:
            for (part, key, _), value in zip(self.changed, quiet, strict=True):
                setattr(_part(config, part), key, value)


def _part(config: Any, name: str) -> Any:
    return getattr(config, name, None) if name else config


def _quiet_values(settings: Any) -> list[tuple[str, Any]]:
    """Returns the keys of a config that are to change, and to what."""
    kept = _THRESHOLDS.get(settings.model_type, set())
    found: list[tuple[str, Any]] = []
    for key, value in settings.to_dict().items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value and ("drop" in key or "jitter" in key) and key not in kept:
            found.append((key, type(value)(0)))
        elif key == "output_router_logits" and value:
            found.append((key, False))
    return found
