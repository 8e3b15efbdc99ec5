"""Under which names verl knows our methods, and which settings its estimators take; nothing of verl is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ngrpo.methods import GroupMethod

ALIASES: Mapping[str, str] = {"w_reinforce": "psr_nsr"}
"""Further names of a method, as its paper has them."""
CLIPPED_LOSS = "ngrpo_clipped"
"""The name of verl's clipped loss with clip fractions by side."""
LENGTH = "max_completion_tokens"
"""The setting that DAPO's overlong penalty needs besides its own: verl does not tell an estimator its limit."""


def estimator_names(taken: Sequence[str] = ("grpo", "rloo")) -> dict[str, str]:
    """Returns estimator name -> method name, for every method whose advantages follow from rewards alone.

    Args:
        taken: names that verl has estimators of its own for; ours get the prefix `ngrpo_` there.

    >>> names = estimator_names()
    >>> names["ngrpo"], names["ngrpo_grpo"], names["w_reinforce"], "rl_zvp" in names
    ('ngrpo', 'grpo', 'psr_nsr', False)
    """
    from ngrpo.methods import METHODS, GroupMethod

    scalar = [name for name, kind in METHODS.items() if issubclass(kind, GroupMethod) and not kind.needs_entropies]
    names = {**{name: name for name in scalar}, **ALIASES}
    return {f"ngrpo_{name}" if name in taken else name: method for name, method in names.items()}


def method_of(name: str, settings: Mapping[str, Any] | None = None) -> tuple[GroupMethod, int | None]:
    """Returns the method of an estimator's settings, and the longest completion where it was told.

    Args:
        name: name of the method.
        settings: the table `algorithm.ngrpo`; only what decides advantages.

    Raises:
        ConfigError: for a setting that is not an estimator's (verl takes clip, loss and KL elsewhere), or a wrong one.
    """
    from ngrpo.errors import ConfigError
    from ngrpo.methods import METHODS, GroupMethod, Method, load_method

    given = dict(settings or {})
    length = given.pop(LENGTH, None)
    allowed = estimator_settings(METHODS[name])
    for key in given:
        if key not in allowed:
            where = "set it where verl has it" if key in Method.model_fields else f"allowed: {', '.join(allowed)}"
            raise ConfigError(f"algorithm.ngrpo.{key}: estimator {name} does not have this setting; {where}")
    method = load_method({**given, "name": name}, where="algorithm.ngrpo: ")
    assert isinstance(method, GroupMethod)  # noqa: S101  (told to mypy)
    if getattr(method, "overlong_buffer_tokens", 0) and length is None:
        raise ConfigError(
            f"{name}'s overlong penalty needs +algorithm.ngrpo.{LENGTH}=N, the value of data.max_response_length; "
            "or give +algorithm.ngrpo.overlong_buffer_tokens=0 for no penalty"
        )
    return method, None if length is None else int(length)


def estimator_settings(kind: type[Any]) -> list[str]:
    """Returns the settings of a method that decide its advantages: its own fields, and max_reward."""
    from ngrpo.methods import Method

    own = [name for name in kind.model_fields if name not in Method.model_fields]
    return [*own, "max_reward"]
