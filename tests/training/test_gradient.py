from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ngrpo.training.collect import GradedGroups, collect_groups
from ngrpo.training.gradient import gradient_share_by_kind
from ngrpo.training.learner import GroupLearner
from ngrpo.types import Group, Rollout


@pytest.fixture(scope="module")
def groups(small_config: Any, load_base: Any) -> list[Group]:
    """24 groups of 4 as the shipped model writes them."""
    from ngrpo.sampling.transformers_sampler import TransformersSampler
    from ngrpo.training.prompt_source import PromptSource

    config = small_config("sampling.problems_per_step=24", "method.refill=false", "method.filter=none")
    lm = load_base()
    source = PromptSource(config.task, lm.tokenizer, seed=0, max_prompt_tokens=32)
    collected = collect_groups(
        TransformersSampler(lm), source, config.task, config.method, config.sampling, seed=0, step=1
    )
    return list(collected.sampled.groups)


def test_shares_follow_the_method(groups: list[Group], make_updater: Any, load_base: Any) -> None:
    lm = load_base()
    before = [parameter.clone() for _, parameter in lm.trained_parameters()]
    shares = {
        name: gradient_share_by_kind(make_updater({"name": name, "kl_coefficient": 0.0}, lm=lm), groups)
        for name in ("grpo", "psr_nsr", "psr", "ngrpo")
    }
    for share in shares.values():
        assert share.all_wrong + share.all_correct + share.mixed + share.ungraded == pytest.approx(1.0)
    assert shares["grpo"].all_wrong == shares["psr"].all_wrong == 0.0
    assert 0.0 < shares["ngrpo"].all_wrong < shares["psr_nsr"].all_wrong < 1.0
    assert shares["ngrpo"].all_correct == 0.0  # filtered out
    for parameter, old in zip(lm.trained_parameters(), before, strict=True):
        assert parameter[1].grad is None
        assert torch.equal(parameter[1], old)


def test_the_parts_are_under_the_denominator_of_the_whole(groups: list[Group], make_updater: Any) -> None:
    """With one kind only, its part is the whole update's gradient: the share is 1; with none, all shares are 0."""
    updater = make_updater({"name": "ngrpo"})
    wrong = [g for g in groups if not any(r.grade.reward for r in g.rollouts)]
    assert gradient_share_by_kind(updater, wrong).all_wrong == 1.0
    nothing = gradient_share_by_kind(make_updater({"name": "grpo", "kl_coefficient": 0.0}), wrong)
    assert (nothing.all_wrong, nothing.mixed) == (0.0, 0.0)
    rows = [
        row for group in GroupLearner(updater, updater.method).make_batch(GradedGroups.of(groups)).rows for row in group
    ]
    norms = {}
    for kind, chosen in {"whole": rows, "wrong": [r for r in rows if abs(r.advantages[0] + 5**-0.5) < 1e-4]}.items():
        updater.accumulate_gradient(chosen, updater.denominator(rows))
        norms[kind] = torch.cat([p.grad.flatten() for p in updater.parameters.values()]).clone()
        updater.optimizer.zero_grad()
    rest = norms["whole"] - norms["wrong"]  # the mixed groups': all-correct ones have advantage 0
    share = gradient_share_by_kind(updater, groups)
    expected = float(norms["wrong"].norm() / (norms["wrong"].norm() + rest.norm()))
    assert share.all_wrong == pytest.approx(expected, rel=1e-3)


def test_dapos_penalty_on_length_counts(groups: list[Group], make_updater: Any) -> None:
    wrong = [g for g in groups if not any(r.grade.reward for r in g.rollouts)]
    shortened = [replace(group, rollouts=tuple(map(cut_by_sample, group.rollouts))) for group in wrong]
    for tokens, share in ((0, 0.0), (4, 1.0)):
        method = {"name": "dapo", "filter": "none", "overlong_buffer_tokens": tokens}
        assert gradient_share_by_kind(make_updater(method), shortened).all_wrong == share


def cut_by_sample(rollout: Rollout) -> Rollout:
    whole, kept = rollout.completion, 8 - rollout.sample
    return replace(rollout, completion=replace(whole, tokens=whole.tokens[:kept], logprobs=whole.logprobs[:kept]))
