"""Our methods inside slime, by three of its hooks; each is a function that slime finds by its path.

    --custom-reward-post-process-path ngrpo.adapters.slime.rewards_to_advantages --advantage-estimator grpo
    --dynamic-sampling-filter-path ngrpo.adapters.slime.keep_group              # for methods that filter, with refill
    --custom-advantage-function-path ngrpo.adapters.slime.advantages            # only where each rank has whole groups

The method's settings stand in the YAML file of `--custom-config-path`, as our `[method]` table under `ngrpo:`;
without it, NGRPO has its defaults. The first hook sees the whole batch with its groups, before slime deals rows out to
its ranks, so it is the one to take. Read in slime 0.3.1 and at 624b824; slime need not be installed to import this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.flat_batch import kept_rows, load_row_method, row_advantages, shapes_rewards
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.methods import GroupMethod


def rewards_to_advantages(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
    """Returns the raw rewards, and in the place of normalised ones the method's advantages.

    With `--advantage-estimator grpo` slime gives each token its sample's reward as advantage. Samples without a reward
    (`None` or NaN), ungraded groups and groups that the method's filter drops are marked `remove_sample`, by which
    slime masks their tokens; for slime's averages a sample without a reward counts as 0.

    Args:
        args: slime's arguments; `args.ngrpo` is our `[method]` table.
        samples: all samples of a rollout, with `group_index` and `reward`.

    Raises:
        ConfigError: for an unknown method or setting, one that slime cannot express, or samples without a group.
    """
    method = _method(args)
    if args.advantage_estimator != "grpo" or getattr(args, "normalize_advantages", False):
        raise ConfigError(
            f"advantage_estimator is {args.advantage_estimator!r}, normalize_advantages "
            f"{getattr(args, 'normalize_advantages', False)}; allowed here is 'grpo' without normalize_advantages"
        )
    groups = [sample.group_index for sample in samples]
    if None in groups:
        raise ConfigError("a sample has no group_index; allowed is a rollout function that keeps it")
    rewards, valid = _rewards_and_valid(args, samples)
    kept = kept_rows(method, rewards, groups, valid=valid)
    for sample, is_kept in zip(samples, kept.tolist(), strict=True):
        if not is_kept:
            sample.remove_sample = True
    values = row_advantages(method, _shaped(method, args, rewards, samples), groups, valid=valid)
    return rewards.nan_to_num(0.0).tolist(), values.masked_fill(~kept, 0.0).tolist()


def keep_group(args: Any, samples: Sequence[Any], **_: object) -> bool:
    """Returns whether a group enters the batch; slime samples another in the place of one that does not.

    Args:
        args: slime's arguments; `args.ngrpo` is our `[method]` table.
        samples: those of one prompt.
        _: what else slime passes.

    Raises:
        ConfigError: for an unknown method or setting, or one that slime cannot express.
    """
    rewards, valid = _rewards_and_valid(args, samples)
    return bool(kept_rows(_method(args), rewards, [0] * len(samples), valid=valid).any())


def advantages(args: Any, rollout_data: dict[str, Any]) -> None:
    """Sets `rollout_data["advantages"]` and `["returns"]`, a tensor per sample, from the rewards that were not shaped.

    A rank of slime gets its own rows alone, and which rows stand in one group follows from their `sample_indices`. So
    this hook is exact only where whole groups lie on a rank, with one rank for instance; where they do not, it is an
    error, and `rewards_to_advantages` the way.

    Args:
        args: slime's arguments; `args.ngrpo` is our `[method]` table.
        rollout_data: one rank's lists; `kl` has the shapes of its tokens.

    Raises:
        ConfigError: for an unknown method or setting, one that slime cannot express, or groups that are torn apart.
    """
    import torch

    method = _method(args)
    if shapes_rewards(method):
        raise ConfigError(f"method {method.name!r} shapes rewards by length; allowed here is overlong_buffer_tokens=0")
    given = _own_rewards(args, rollout_data)
    rewards = torch.tensor([float("nan") if reward is None else float(reward) for reward in given])
    size = int(args.n_samples_per_prompt)
    groups = [int(index) // size for index in rollout_data["sample_indices"]]
    torn = [group for group in dict.fromkeys(groups) if groups.count(group) != size]
    if torn:
        raise ConfigError(
            f"group {torn[0]} has {groups.count(torn[0])} of its {size} samples on this rank; allowed is one rank, or "
            "--custom-reward-post-process-path ngrpo.adapters.slime.rewards_to_advantages"
        )
    written = torch.tensor([bool((torch.as_tensor(mask) != 0).any()) for mask in rollout_data["loss_masks"]])
    valid = ~rewards.isnan() & written
    values = row_advantages(method, rewards, groups, valid=valid)
    values = values.masked_fill(~kept_rows(method, rewards, groups, valid=valid), 0.0)
    tokens = [torch.full_like(kl, value) for kl, value in zip(rollout_data["kl"], values.tolist(), strict=True)]
    rollout_data["advantages"], rollout_data["returns"] = tokens, [token.clone() for token in tokens]


def _own_rewards(args: Any, rollout_data: dict[str, Any]) -> Sequence[float | None]:
    """Returns the rewards of a rank as the reward model gave them."""
    if "local_raw_reward" in rollout_data:
        raw: Sequence[float | None] = rollout_data["local_raw_reward"]
        return raw
    # slime 0.3.1 hands a rank the raw rewards of the whole batch, and its own only as they were normalised.
    if getattr(args, "rewards_normalization", True) or getattr(args, "custom_reward_post_process_path", None):
        raise ConfigError(
            "this slime normalises a rank's rewards; allowed is --disable-rewards-normalization without "
            "--custom-reward-post-process-path, or rewards_to_advantages in the place of this function"
        )
    plain: Sequence[float | None] = rollout_data["rewards"]
    return plain


def _method(args: Any) -> GroupMethod:
    table = getattr(args, "ngrpo", None) or {}
    if not isinstance(table, dict):
        raise ConfigError(f"args.ngrpo is {table!r}; allowed is a table of the method's settings")
    return load_row_method(table, host="slime")


def _rewards_and_valid(args: Any, samples: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Returns the rewards [B], NaN where there is none, and where there is one."""
    import torch

    key = getattr(args, "reward_key", None)
    given = [s.reward[key] if key and s.reward is not None else s.reward for s in samples]
    rewards = torch.tensor([float("nan") if reward is None else float(reward) for reward in given])
    return rewards, ~rewards.isnan()


def _shaped(method: GroupMethod, args: Any, rewards: Tensor, samples: Sequence[Any]) -> Tensor:
    """Returns the rewards with the method's penalty for length, if it has one."""
    import torch

    if not shapes_rewards(method):
        return rewards
    lengths = torch.tensor([int(sample.response_length) for sample in samples])
    return method.shaped_rewards(rewards, lengths, int(args.rollout_max_response_len))
