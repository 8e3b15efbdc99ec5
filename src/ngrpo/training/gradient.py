"""Where a step's gradient comes from: its norm split over the kinds of group."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ngrpo.diagnostics import GroupShares
from ngrpo.errors import ConfigError
from ngrpo.filters import group_kinds, kept_groups
from ngrpo.methods import GroupMethod
from ngrpo.training.collect import GradedGroups
from ngrpo.training.learner import GroupLearner
from ngrpo.training.update import PolicyUpdater
from ngrpo.types import Group


def gradient_share_by_kind(updater: PolicyUpdater, groups: Sequence[Group]) -> GroupShares:
    """Returns each kind's part in the gradient of one update over all groups, as a share of the summed norms.

    The gradient of the method's loss is computed for the groups of each kind alone, under the common denominator, so
    that the parts add up to the whole gradient as vectors. Groups that the method filters out have no part. All is 0
    when there is no gradient at all. No weight changes.

    Args:
        updater: the policy and the method.
        groups: graded groups as sampled, before the filter.

    Raises:
        ConfigError: for a method whose advantages do not come from groups.
    """
    method = updater.method
    if not isinstance(method, GroupMethod):
        raise ConfigError(f"method '{method.name}' does not compare completions: its gradient has no shares by kind")
    graded = GradedGroups.of(groups)
    kept = kept_groups(graded.rewards, filter=method.filter, max_reward=method.max_reward, valid=graded.valid)
    kinds = group_kinds(graded.rewards, max_reward=method.max_reward, valid=graded.valid)
    rows = GroupLearner(updater, method).make_batch(graded).rows
    denominator = updater.denominator([row for i in kept.nonzero()[:, 0].tolist() for row in rows[i]])
    norms = []
    for members in (kinds.all_wrong, kinds.all_correct, kinds.mixed, kinds.ungraded):
        chosen = [row for i in (members & kept).nonzero()[:, 0].tolist() for row in rows[i]]
        updater.accumulate_gradient(chosen, denominator)
        gradients = [p.grad for p in updater.parameters.values() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0)
        updater.optimizer.zero_grad(set_to_none=True)
    total = sum(norms) or 1.0
    return GroupShares(*(norm / total for norm in norms))
