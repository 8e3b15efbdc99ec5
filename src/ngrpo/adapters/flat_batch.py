"""Where every host meets our mathematics: rows with group ids become groups, and groups one advantage per row.

Hosts hand over a flat batch whose groups need neither stand together nor be of one size, and in which some rows are
padding or could not be graded. Those leave the statistics here and get exactly 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.methods import GroupMethod, Method


def load_row_method(table: Mapping[str, Any], *, host: str) -> GroupMethod:
    """Returns the method of a `[method]` table, if rewards alone give its advantages.

    Args:
        table: the settings, `name` among them (default "ngrpo").
        host: the framework that asks, for the message.

    Raises:
        ConfigError: for an unknown method, a wrong setting, or a method with a critic or with advantages per token.

    Examples:
        >>> load_row_method({"num_virtual": 2}, host="TRL").name
        'ngrpo'
    """
    from ngrpo.methods import GroupMethod, load_method

    method = load_method(table, where=f"{host}: ")
    if not isinstance(method, GroupMethod):
        raise ConfigError(
            f"method {method.name!r} needs a critic, which {host} does not have; allowed are group methods"
        )
    if method.needs_entropies:
        raise _needs_entropies(method, host)
    return method


def shapes_rewards(method: GroupMethod) -> bool:
    """True when the method changes rewards by the length of completions, as DAPO's overlong penalty does.

    Examples:
        >>> from ngrpo.methods import DAPO
        >>> shapes_rewards(DAPO()), shapes_rewards(DAPO(overlong_buffer_tokens=0))
        (True, False)
    """
    import torch

    # Asked with a completion that is longer than the longest allowed one.
    return bool((method.shaped_rewards(torch.zeros(1, 1), torch.full((1, 1), 2), 1) != 0).any())


def uses_max_reward(method: GroupMethod) -> bool:
    """True when `max_reward` changes advantages or the filter; else only metrics depend on it.

    Examples:
        >>> from ngrpo.methods import GRPO, NGRPO
        >>> uses_max_reward(NGRPO()), uses_max_reward(GRPO()), uses_max_reward(GRPO(filter="all"))
        (True, False, True)
    """
    import torch

    if method.filter != "none":
        return True
    size = max(method.least_group_size(), 4)
    rewards = torch.stack([torch.zeros(size), torch.ones(size), torch.eye(size)[0]])
    reached, missed = (method.model_copy(update={"max_reward": best}) for best in (1.0, 2.0))
    return not torch.equal(reached.advantages(rewards), missed.advantages(rewards))


def row_advantages(
    method: GroupMethod, rewards: Tensor, group_ids: Sequence[Hashable], *, valid: Tensor | None = None
) -> Tensor:
    """Returns the method's advantages of rows, each compared with the rows of its own group id.

    Groups are found by equal ids wherever they stand, and may have any size. A row that is not valid gets 0 and is no
    part of its group; what its reward holds does not matter, not even NaN. Filters are not applied: see `kept_rows`.

    Args:
        method: any method whose advantages follow from rewards alone.
        rewards: [B], float.
        group_ids: B ids, equal for the rows of one group.
        valid: [B] bool, true for rows that were graded and are no padding; all when None.

    Returns:
        [B] advantages in float32, on the device of `rewards`.

    Raises:
        ConfigError: for shapes that do not fit, a valid reward that the method does not take, or a method whose
            advantages need the entropies of tokens.

    Examples:
        >>> import torch
        >>> from ngrpo.methods import NGRPO
        >>> row_advantages(NGRPO(), torch.tensor([0.0, 1.0, 0.0, 0.0]), ["a", "b", "a", "a"])
        tensor([-0.5000,  0.0000, -0.5000, -0.5000])
    """
    import torch

    if method.needs_entropies:
        raise _needs_entropies(method, "this adapter")
    advantages = torch.zeros(len(rewards), dtype=torch.float32)
    by_size: dict[int, list[list[int]]] = {}
    for rows in _valid_rows_of_groups(rewards, group_ids, valid).values():
        if rows:
            by_size.setdefault(len(rows), []).append(rows)
    values = rewards.detach().cpu()
    for groups in by_size.values():
        index = torch.tensor(groups)
        advantages[index] = method.advantages(values[index]).float()
    return advantages.to(rewards.device)


def kept_rows(method: Method, rewards: Tensor, group_ids: Sequence[Hashable], *, valid: Tensor | None = None) -> Tensor:
    """Returns [B] bool: true for the rows that enter the batch, by their own grade and the filter of the method.

    A group of several rows of which fewer than two are valid is ungraded and does not enter, as in `kept_groups`; a
    row of its own makes a group of one.

    Args:
        method: its `filter` and `max_reward` count.
        rewards: [B], float.
        group_ids: B ids, equal for the rows of one group.
        valid: [B] bool, true for rows that were graded and are no padding; all when None.

    Raises:
        ConfigError: for shapes that do not fit or a valid reward that is not finite.

    Examples:
        >>> import torch
        >>> from ngrpo.methods import NGRPO
        >>> kept_rows(NGRPO(), torch.tensor([0.0, 1.0, 1.0, 1.0]), [7, 7, 8, 8])
        tensor([ True,  True, False, False])
    """
    import torch

    from ngrpo.filters import kept_groups

    kept = torch.zeros(len(rewards), dtype=torch.bool)
    sizes: dict[Hashable, int] = {}
    for group in group_ids:
        sizes[group] = sizes.get(group, 0) + 1
    values = rewards.detach().cpu()
    for group, rows in _valid_rows_of_groups(rewards, group_ids, valid).items():
        if len(rows) >= min(2, sizes[group]):
            index = torch.tensor(rows)
            kept[index] = kept_groups(values[index][None], filter=method.filter, max_reward=method.max_reward)
    return kept.to(rewards.device)


def _needs_entropies(method: GroupMethod, host: str) -> ConfigError:
    return ConfigError(
        f"method {method.name!r} has advantages per token that need entropies, which {host} does not give; allowed "
        "are methods whose advantages follow from rewards alone"
    )


def _valid_rows_of_groups(
    rewards: Tensor, group_ids: Sequence[Hashable], valid: Tensor | None
) -> dict[Hashable, list[int]]:
    """Returns the positions of each group's valid rows, groups in the order of their first row."""
    import torch

    if rewards.ndim != 1 or len(group_ids) != len(rewards):
        raise ConfigError(
            f"rewards have shape {list(rewards.shape)} and there are {len(group_ids)} group ids; allowed are B of each"
        )
    if valid is not None and (valid.shape != rewards.shape or valid.dtype != torch.bool):
        raise ConfigError(
            f"valid is {valid.dtype} of shape {list(valid.shape)}; "
            f"allowed is torch.bool of the shape of rewards, {list(rewards.shape)}"
        )
    graded = [True] * len(rewards) if valid is None else valid.tolist()
    groups: dict[Hashable, list[int]] = {}
    for row, (group, is_valid) in enumerate(zip(group_ids, graded, strict=True)):
        rows = groups.setdefault(group, [])
        if is_valid:
            rows.append(row)
    return groups
