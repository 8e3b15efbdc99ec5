"""Findings about groups: their kinds, what each method makes of them, what was sampled in vain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from ngrpo.diagnosis.finding import Found, share
from ngrpo.diagnosis.log_rows import Log, LogRow

if TYPE_CHECKING:
    from torch import Tensor

LEAST_GROUPS = 4
"""Below so many groups a share of groups says nothing."""
NO_SIGNAL, SAME_ANSWER, INVERTED = 0.97, 0.5, 0.02


def group_kinds_found(log: Log) -> Iterator[Found]:
    """Shares of all-wrong, all-correct, mixed and ungraded groups; a warning where hardly any is mixed."""
    from ngrpo.diagnostics import group_shares

    parts = [(group_shares(t.rewards, max_reward=log.max_reward, valid=t.valid), len(t.rewards)) for t in tables(log)]
    total = sum(count for _, count in parts)
    if not total:
        yield from _logged_kinds(log)
        return
    kinds = ("all_wrong", "all_correct", "mixed", "ungraded")
    shares = {kind: sum(getattr(part, kind) * count for part, count in parts) / total for kind in kinds}
    text = ", ".join(f"{kind.replace('_', '-')} {value:.1%}" for kind, value in shares.items())
    yield Found("groups", "fact", shares["all_wrong"], f"{total:,} groups: {text}")
    dead = shares["all_wrong"] + shares["all_correct"]
    if dead >= NO_SIGNAL and total >= LEAST_GROUPS:
        why = "all-wrong" if shares["all_wrong"] > shares["all_correct"] else "all-correct"
        text = (
            f"{dead:.1%} of groups are homogeneous, most of them {why}: methods that compare inside a group get nothing"
        )
        yield Found("no-signal", "warning", dead, text, _named(log.all_wrong[:3]))


def _logged_kinds(log: Log) -> Iterator[Found]:
    """What a log without completions says of its groups: our shares, or TRL's of groups with equal rewards."""
    names = {"group/all_wrong": "all-wrong", "group/all_correct": "all-correct", "frac_reward_zero_std": "homogeneous"}
    means = {what: fmean(value for _, value in log.series(name)) for name, what in names.items() if log.series(name)}
    if not means:
        return
    text = ", ".join(f"{what} {value:.1%}" for what, value in means.items())
    yield Found("groups", "fact", next(iter(means.values())), f"groups, mean over steps: {text}")
    if (dead := sum(means.values())) >= NO_SIGNAL:
        text = f"{dead:.1%} of groups are homogeneous: methods that compare inside a group get nothing"
        yield Found("no-signal", "warning", dead, text)


def wrong_answers(log: Log) -> Iterator[Found]:
    """Whether an all-wrong group holds different answers (a cliff) or one answer G times (a collapse)."""
    counted = [[row.told_answer() for row in group] for group in log.all_wrong]
    groups = [(group, told) for group, told in zip(log.all_wrong, counted, strict=True) if any(told)]
    if not groups:
        return
    distinct = sum(len({*told}) / len(told) for _, told in groups) / len(groups)
    same = [group for group, told in groups if len({*told}) == 1]
    text = f"{len(groups):,} all-wrong groups: {distinct:.0%} of a group's answers differ, {len(same):,} hold one"
    yield Found("wrong-answers", "fact", distinct, text)
    if len(same) >= LEAST_GROUPS and len(same) >= SAME_ANSWER * len(groups):
        text = f"collapse: {share(len(same), len(groups)):.0%} of all-wrong groups are the same answer throughout"
        yield Found("collapse", "warning", share(len(same), len(groups)), text, _named(same[:3]))


def methods_compared(log: Log) -> Iterator[Found]:
    """What each method would do with these groups: share of rollouts with gradient, positive and negative mass."""
    from ngrpo.diagnostics import advantage_mass, nonzero_advantage_share
    from ngrpo.errors import ConfigError
    from ngrpo.methods import METHODS, GroupMethod

    made = tables(log)
    total = sum(table.rewards.numel() for table in made)
    if not total:
        return
    lines, of_grpo = [], 0.0
    for name, kind in METHODS.items():
        if not issubclass(kind, GroupMethod) or kind.needs_entropies:
            continue
        method = kind.parse({"name": name, "max_reward": log.max_reward})
        nonzero = positive = negative = 0.0
        try:
            for table in made:
                advantages = method.advantages(table.rewards, table.valid)
                nonzero += nonzero_advantage_share(advantages, table.valid) * advantages.numel()
                mass = advantage_mass(advantages, table.valid)
                positive, negative = positive + mass.positive, negative + mass.negative
        except ConfigError:  # rewards beyond what the method allows
            continue
        lines.append(f"{name:14} {nonzero / total:6.1%}  +{positive / total:.3f}  -{negative / total:.3f}")
        of_grpo = nonzero / total if name == "grpo" else of_grpo
    head = "rollouts with gradient, positive and negative advantage per rollout, by method"
    yield Found("methods", "fact", of_grpo, head, tuple(lines))


def wasted_tokens(log: Log) -> Iterator[Found]:
    """Share of sampled tokens whose rollouts carry no gradient: by the log's advantages, else by GRPO's."""
    lengths = [[_length(row) for row in group] for group in log.groups]
    total = sum(map(sum, lengths))
    if not total:
        return
    logged = any(row.advantage is not None for row in log.rows)
    wasted = 0
    for group, counted in zip(log.groups, lengths, strict=True):
        rewards = {row.reward for row in group}
        for row, length in zip(group, counted, strict=True):
            idle = not row.advantage if logged else len(rewards) == 1 or row.reward is None
            wasted += length if idle else 0
    unit = "tokens" if any(row.num_tokens is not None for row in log.rows) else "characters"
    by = "by the log's advantages" if logged else "under GRPO"
    text = f"{wasted / total:.1%} of {total:,} sampled {unit} carry no gradient ({by})"
    yield Found("wasted-tokens", "fact", wasted / total, text)


def advantages_out_of_order(log: Log) -> Iterator[Found]:
    """Groups in which a lower reward has the higher advantage: rows were mixed up between sampling and training."""
    compared = [[r for r in g if r.reward is not None and r.advantage is not None] for g in log.groups]
    mixed = [group for group in compared if len({row.reward for row in group}) > 1]
    wrong = [group for group in mixed if _is_inverted(group)]
    if len(wrong) >= 2 and len(wrong) > INVERTED * len(mixed):
        text = f"in {share(len(wrong), len(mixed)):.0%} of mixed groups a lower reward has the higher advantage"
        rows = tuple(f"row {r.line}: reward {r.reward:g}, advantage {r.advantage:g}" for r in wrong[0][:4])
        yield Found("advantages-out-of-order", "warning", share(len(wrong), len(mixed)), text, rows)


def _is_inverted(group: list[LogRow]) -> bool:
    """Returns whether somewhere the reward rises and the advantage falls; sorted, neighbours suffice."""
    ordered = sorted(group, key=lambda row: (row.reward or 0.0, row.advantage or 0.0))
    best: dict[float, tuple[float, float]] = {}
    for row in ordered:
        reward, advantage = row.reward or 0.0, row.advantage or 0.0
        low, high = best.get(reward, (advantage, advantage))
        best[reward] = (min(low, advantage), max(high, advantage))
    return any(high > low + 1e-6 for (_, high), (low, _) in pairwise(best.values()))


def _length(row: LogRow) -> int:
    return row.num_tokens if row.num_tokens is not None else len(row.completion or "")


def _named(groups: list[list[LogRow]]) -> tuple[str, ...]:
    return tuple(
        f"rows {group[0].line} to {group[-1].line}, step {group[0].step}: "
        + " | ".join(str(row.told_answer())[:40] for row in group[:4])
        for group in groups
    )


class RewardTable(NamedTuple):
    """Groups of one size: rewards [P, G] float32, 0 where ungraded, and which are graded [P, G] bool."""

    rewards: Tensor
    valid: Tensor


def tables(log: Log) -> list[RewardTable]:
    """Returns the groups of a log as tensors, one table for each size of group."""
    import torch

    by_size: dict[int, list[list[LogRow]]] = {}
    for group in log.groups:
        by_size.setdefault(len(group), []).append(group)
    made = []
    for groups in by_size.values():
        rewards = torch.tensor([[row.reward or 0.0 for row in group] for group in groups])
        valid = torch.tensor([[row.reward is not None for row in group] for group in groups])
        made.append(RewardTable(rewards, valid))
    return made
