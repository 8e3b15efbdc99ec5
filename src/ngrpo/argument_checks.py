"""Checks of arguments, each one line that names the argument, its value and what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


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


def check_above_0(name: str, value: float) -> None:
    """Raises ConfigError unless the value is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers above 0")


def check_tokens(hidden: Tensor, tokens: Tensor, chunk_size: int) -> None:
    """Raises ConfigError unless hidden states are [N, D], tokens [N], and a chunk has at least one of them."""
    if hidden.ndim != 2 or tokens.shape != hidden.shape[:1]:
        raise ConfigError(
            f"hidden and tokens have shapes {list(hidden.shape)} and {list(tokens.shape)}; allowed are [N, D] and [N]"
        )
    if chunk_size < 1:
        raise ConfigError(f"chunk_size is {chunk_size}; allowed are integers of at least 1")
