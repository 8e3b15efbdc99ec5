"""Checks of numeric arguments, each one line that names the argument, its value and what is allowed."""

from __future__ import annotations

import math

from ngrpo.errors import ConfigError


def check_finite(name: str, value: float) -> None:
    """Raises ConfigError for NaN and infinity."""
    if not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers")


def check_not_negative(name: str, value: float) -> None:
    """Raises ConfigError unless the value is finite and at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers of at least 0")


def check_share(name: str, value: float) -> None:
    """Raises ConfigError unless the value is between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}; allowed are numbers from 0 to 1")
