"""The numbers of `ngrpo advantages`: advantages by number of correct completions or of one group, gradient weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from ngrpo.choices import Deviation
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from ngrpo.methods import GroupMethod, Method

_LARGEST_GROUP = 1024


@dataclass(frozen=True, slots=True)
class AdvantageRow:
    """A group with `correct` correct ones: the advantage of each kind and their sum.

    None where there is no such completion, and in all rows of a method whose advantages do not follow from rewards.
    """

    correct: int
    advantage_correct: float | None
    advantage_wrong: float | None
    sum: float | None


def advantage_rows(
    group_size: int, methods: Iterable[str] | None = None, **settings: Any
) -> dict[str, list[AdvantageRow]]:
    """Returns, by method, a row for each number of correct completions from 0 to `group_size`.

    Args:
        group_size: completions per problem, 1 to 1024.
        methods: names from `ngrpo.methods.METHODS`; by default all.
        settings: settings of the methods, such as `num_virtual`; each method takes those that it has.

    Raises:
        ConfigError: for an unknown method or a value out of range.
    """
    _check_group_size(group_size)
    reward = settings.get("max_reward", 1.0)
    return {name: _rows(one, group_size, reward) for name, one in _loaded(methods, settings).items()}


def group_advantages(
    rewards: Sequence[float], methods: Iterable[str] | None = None, **settings: Any
) -> dict[str, list[float | None]]:
    """Returns, by method, the advantages of one group, in the order of its rewards; None where there are none.

    Args:
        rewards: of the group's completions, 1 to 1024 finite numbers.
        methods: names from `ngrpo.methods.METHODS`; by default all.
        settings: settings of the methods, such as `num_virtual`; each method takes those that it has.

    Raises:
        ConfigError: for an unknown method or a value out of range.
    """
    import torch

    from ngrpo.methods import GroupMethod

    _check_group_size(len(rewards))
    group = torch.tensor([rewards], dtype=torch.float64)
    given: dict[str, list[float | None]] = {}
    for name, method in _loaded(methods, settings).items():
        if isinstance(method, GroupMethod):
            # "+ 0.0" turns a negative zero, which JSON and tables would show, into zero.
            given[name] = [value + 0.0 for value in method.advantages(group)[0].tolist()]
        else:
            given[name] = [None] * len(rewards)
    return given


def gradient_weights(
    rows: Mapping[str, Sequence[AdvantageRow]], success_rates: Sequence[float]
) -> dict[str, list[float | None]]:
    """Returns, by method, the expected gradient weight f(p) at each success rate; None where there is none.

    Args:
        rows: by method, as `advantage_rows` returns them.
        success_rates: 0 to 1.
    """
    import torch

    from ngrpo.diagnostics import expected_gradient_weight

    rates = torch.tensor(success_rates, dtype=torch.float64)
    weights: dict[str, list[float | None]] = {}
    for name, table in rows.items():
        correct = [row.advantage_correct for row in table[1:]]
        wrong = [row.advantage_wrong for row in table[:-1]]
        if None in correct or None in wrong:
            weights[name] = [None] * len(rates)
        else:
            columns = torch.tensor([correct, wrong], dtype=torch.float64)
            weights[name] = [value + 0.0 for value in expected_gradient_weight(columns[0], columns[1], rates).tolist()]
    return weights


def method_notes(methods: Iterable[str]) -> dict[str, str]:
    """Returns a note on each of those methods whose advantages depend on more than the rewards of one group."""
    from ngrpo.methods import METHODS, GroupMethod

    notes = {}
    for name in methods:
        method = METHODS[name]
        if not issubclass(method, GroupMethod):
            notes[name] = "advantages come from a critic; none follows from the rewards of a group"
        elif method.also_depends_on:
            notes[name] = f"depends on {method.also_depends_on} too; shown is what one group's rewards alone give"
    return notes


def _loaded(methods: Iterable[str] | None, settings: Mapping[str, Any]) -> dict[str, Method]:
    """Returns the methods, each with those of the settings that it has."""
    from ngrpo.methods import METHODS, load_method

    reward = settings.get("max_reward", 1.0)
    if not (reward > 0 and math.isfinite(reward)):
        raise ConfigError(f"max_reward must be a finite number above 0, got {reward}")
    if settings.get("std", "sample") not in get_args(Deviation):
        raise ConfigError(f"std must be one of {', '.join(get_args(Deviation))}; got {settings['std']!r}")
    if settings.get("num_virtual", 1) < 0:
        raise ConfigError(f"num_virtual must be at least 0, got {settings['num_virtual']}")
    loaded = {}
    for name in METHODS if methods is None else methods:
        fields = METHODS[name].model_fields if name in METHODS else ()
        known = {key: value for key, value in settings.items() if key in fields}
        loaded[name] = load_method({"name": name, **known})
    return loaded


def _rows(method: Method, group_size: int, max_reward: float) -> list[AdvantageRow]:
    from ngrpo.methods import GroupMethod

    if not isinstance(method, GroupMethod):
        return [AdvantageRow(count, None, None, None) for count in range(group_size + 1)]
    return [
        AdvantageRow(
            correct=count,
            # "+ 0.0" turns a negative zero, which JSON and tables would show, into zero.
            advantage_correct=group[0] + 0.0 if count > 0 else None,
            advantage_wrong=group[-1] + 0.0 if count < group_size else None,
            sum=math.fsum(group) + 0.0,
        )
        for count, group in enumerate(_by_count(method, group_size, max_reward))
    ]


def _by_count(method: GroupMethod, group_size: int, max_reward: float) -> list[list[float]]:
    """Returns the advantages of the groups with 0, 1, ... correct completions, those first."""
    import torch

    rewards = torch.ones(group_size + 1, group_size, dtype=torch.float64).tril(-1) * max_reward
    # Where the other groups of a step count too, each row stands for a step of that group alone.
    parts = [rewards[i : i + 1] for i in range(len(rewards))] if method.also_depends_on else [rewards]
    result: list[list[float]] = torch.cat([method.advantages(part) for part in parts]).tolist()
    return result


def _check_group_size(group_size: int) -> None:
    if not 1 <= group_size <= _LARGEST_GROUP:
        raise ConfigError(f"the group size must lie between 1 and {_LARGEST_GROUP}, got {group_size}")
