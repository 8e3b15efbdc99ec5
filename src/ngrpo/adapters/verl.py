"""Our methods as advantage estimators of verl 0.8 and 0.9: `algorithm.adv_estimator=ngrpo`, `psr_nsr`, ...

Importing this module registers them wherever verl is installed. verl does it by itself: a plain `import verl` loads the
entry point `ngrpo` of the group `verl.plugins` (0.9), and `VERL_USE_EXTERNAL_MODULES=ngrpo.adapters.verl` names this
module (0.8 and 0.9), in the driver as in every worker.

Every `GroupMethod` whose advantages follow from rewards alone is there under its own name; `w_reinforce` is another
name of `psr_nsr`. verl keeps the names that it has: its `grpo` and `rloo` stay verl's, ours are `ngrpo_grpo` and
`ngrpo_rloo`. The settings of an estimator are Hydra additions, `+algorithm.ngrpo.num_virtual=2`; a wrong one ends
verl's entry point before it starts Ray.

Two kinds of row are left out of every group and get advantage 0: padding (an empty response_mask), and rows that could
not be graded, which a reward function marks by the score NaN. Nothing else of verl reaches an estimator. Groups are
the rows of one uid, wherever they stand. Filters, and the metrics of groups, are not an estimator's: see
`ngrpo.adapters.verl_sampler`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.verl_names import CLIPPED_LOSS, estimator_names, method_of
from ngrpo.adapters.verl_settings import check_with_verl, settings_of

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.methods import GroupMethod

Estimator = Callable[..., "tuple[Tensor, Tensor]"]
_noted: list[int] = []


def token_level_advantages(
    method: GroupMethod,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: Sequence[Hashable],
    *,
    max_completion_tokens: int | None = None,
) -> Tensor:
    """Returns the advantages [B, T] of a batch of verl: each row's own on its tokens, 0 elsewhere.

    Args:
        method: decides the advantages.
        token_level_rewards: [B, T]; a row's reward is their sum, and NaN marks a row that was not graded.
        response_mask: [B, T], nonzero on tokens that the model wrote; nowhere on padding rows.
        index: B uids, equal for the rows of one group.
        max_completion_tokens: what the overlong penalty of DAPO counts from.

    Examples:
        >>> import torch
        >>> from ngrpo.methods import NGRPO
        >>> rewards = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, float("nan")], [0.0, 0.0]])
        >>> mask = torch.tensor([[1, 0], [1, 1], [1, 1], [0, 0]])
        >>> token_level_advantages(NGRPO(), rewards, mask, ["a", "a", "a", "a"])
        tensor([[-0.5773,  0.0000],
                [-0.5773, -0.5773],
                [ 0.0000,  0.0000],
                [ 0.0000,  0.0000]])
    """
    from ngrpo.adapters.flat_batch import row_advantages

    written = response_mask != 0
    rewards = token_level_rewards.float().sum(dim=-1)
    valid = written.any(dim=-1) & ~rewards.isnan()
    if max_completion_tokens is not None:
        rewards = method.shaped_rewards(rewards, written.sum(dim=-1), max_completion_tokens)
    advantages = row_advantages(method, rewards, [_plain(uid) for uid in index], valid=valid)
    return advantages[:, None].where(written, advantages.new_zeros(()))  # a product would have negative zeros


def estimator_of(method_name: str) -> Estimator:
    """Returns the function that verl calls for a method; it reads its settings from `config.ngrpo`."""

    def estimator(
        token_level_rewards: Tensor, response_mask: Tensor, index: Any = None, config: Any = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        from ngrpo.errors import ConfigError

        if index is None:
            raise ConfigError(f"verl gave {method_name} no uids: without them there are no groups")
        method, length = method_of(method_name, settings_of(config))
        _note_ungraded(token_level_rewards, response_mask)
        advantages = token_level_advantages(
            method, token_level_rewards, response_mask, index, max_completion_tokens=length
        )
        return advantages, advantages

    estimator.__name__ = estimator.__qualname__ = f"{method_name}_estimator"
    return estimator


def clipped_by_side(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """Returns verl's own clipped loss and metrics, and of each side of the clip the share of tokens at which it binds.

    verl's `pg_clipfrac` is the sum of both, which hides what an asymmetric clip does. The name of this loss is
    `actor_rollout_ref.actor.policy_loss.loss_mode=ngrpo_clipped`.
    """
    import torch
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla

    from ngrpo.losses import clipped_policy_loss

    loss, metrics = compute_policy_loss_vanilla(
        old_log_prob, log_prob, advantages, response_mask, loss_agg_mode, config, rollout_is_weights
    )
    sides = [config.clip_ratio if side is None else side for side in (config.clip_ratio_low, config.clip_ratio_high)]
    with torch.no_grad():
        ours = clipped_policy_loss(
            log_prob, old_log_prob, advantages, response_mask.bool(), clip_low=sides[0], clip_high=sides[1]
        )
    low, high = float(ours.clip_low_fraction), float(ours.clip_high_fraction)
    return loss, {**metrics, "actor/clip_low_fraction": low, "actor/clip_high_fraction": high}


def register() -> list[str]:
    """Registers our loss and every estimator that is not registered yet, and returns the names of all estimators.

    Raises:
        MissingDependencyError: where verl is not installed.
    """
    from ngrpo.errors import MissingDependencyError

    if find_spec("verl") is None:
        raise MissingDependencyError("verl", "verl", "ngrpo.adapters.verl")
    # Not at the top: this module is imported while `verl/__init__` still runs.
    from verl.trainer.ppo import core_algos

    core_algos.register_policy_loss(CLIPPED_LOSS)(clipped_by_side)
    registry = core_algos.ADV_ESTIMATOR_REGISTRY
    ours = {name for name, function in registry.items() if getattr(function, "__module__", "") == __name__}
    names = estimator_names([name for name in registry if name not in ours])
    for name, method in names.items():
        if name not in ours:
            core_algos.register_adv_est(name)(estimator_of(method))
    check_with_verl(names)
    return list(names)


def _register_or_say_why() -> None:
    # verl swallows what an entry point raises, at DEBUG, and then knows no estimator of that name.
    try:
        register()
    except BaseException as error:
        sys.stderr.write(f"ngrpo: estimators cannot be registered with verl: {type(error).__name__}: {error}\n")
        raise


def _note_ungraded(token_level_rewards: Tensor, response_mask: Tensor) -> None:
    """Writes on standard error, once per process, that verl's own averages are NaN with a NaN score in them."""
    written = (response_mask != 0).any(dim=-1)
    ungraded = int((token_level_rewards.sum(dim=-1).isnan() & written).sum())
    if ungraded and not _noted:
        _noted.append(ungraded)
        sys.stderr.write(
            f"ngrpo: {ungraded} of {int(written.sum())} rows are ungraded (score NaN) and get advantage 0; verl "
            "averages all rows, so its critic/score/* and critic/rewards/* are nan in such a step; "
            "ngrpo.adapters.verl_sampler.GroupSampler leaves them out (shown once per process)\n"
        )


def _plain(uid: Any) -> Hashable:
    item: Hashable = uid.item() if hasattr(uid, "item") else uid
    return item


if find_spec("verl") is not None:
    _register_or_say_why()
