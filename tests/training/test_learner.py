"""What a group becomes: rows with advantages, by any method; old logprobs computed again where asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from ngrpo.advantages import rl_zvp_advantages
from ngrpo.methods import METHODS, RLZVP, GroupMethod, load_method
from ngrpo.training.collect import GradedGroups, rewards_of
from ngrpo.training.learner import GroupLearner, OldLogprobs
from ngrpo.types import Completion, Grade, Group, Problem, Rollout


def group(name: str, rewards: list[float | None], *, first_length: int = 2) -> Group:
    """A group whose completions have `first_length`, one more, ... tokens; a reward of None is ungraded."""
    rng, problem, rollouts = np.random.default_rng(len(name)), Problem(name, "", ""), []
    for i, reward in enumerate(rewards):
        length = first_length + i
        completion = Completion("", rng.integers(2, 60, length), np.full(length, -1.0, dtype=np.float32), "stop")
        grade = Grade("ungraded", 0.0) if reward is None else Grade("correct" if reward else "wrong", reward)
        rollouts.append(Rollout(problem, i, completion, grade))
    return Group(problem, np.array([5, 6, 7]), tuple(rollouts))


GROUPS = [group("wrong", [0.0, 0.0, 0.0]), group("mixed", [1.0, None, 0.0]), group("correct", [1.0, 1.0, 1.0])]


@pytest.fixture
def learner(make_updater: Any) -> Any:
    def make(table: dict[str, Any], **options: Any) -> GroupLearner:
        updater = make_updater(table)
        assert isinstance(updater.method, GroupMethod)
        return GroupLearner(updater, updater.method, **options)

    return make


@pytest.mark.parametrize("name", [name for name in METHODS if name not in {"ppo", "rl_zvp"}])
def test_every_token_gets_its_completions_advantage(learner: Any, name: str) -> None:
    settings = {"overlong_buffer_tokens": 0} if name == "dapo" else {}
    batch = learner({"name": name, "filter": "none", **settings}).make_batch(GradedGroups.of(GROUPS))
    rewards, valid = rewards_of(GROUPS)
    expected = load_method({"name": name, "filter": "none", **settings}).advantages(rewards, valid)
    assert torch.equal(batch.advantages, expected)
    assert [len(rows) for rows in batch.rows] == [3, 2, 3]
    rows = [row for rows in batch.rows for row in rows]
    for row, advantage in zip(rows, expected[valid].tolist(), strict=True):
        assert row.advantages.tolist() == [advantage] * len(row.completion)
        assert row.advantages.dtype == np.float32


def test_advantages_are_those_of_the_shaped_rewards(learner: Any) -> None:
    """2, 3 and 4 tokens of at most 8, a buffer of 7: penalties -1/7, -2/7 and -3/7, z-scored."""
    batch = learner({"name": "dapo", "filter": "none", "overlong_buffer_tokens": 7}).make_batch(
        GradedGroups.of(GROUPS[:1])
    )
    torch.testing.assert_close(batch.advantages, torch.tensor([[1.0, 0.0, -1.0]]), atol=1e-4, rtol=0)


def test_no_group_makes_no_row(learner: Any) -> None:
    batch = learner({"name": "grpo"}, old_logprobs=OldLogprobs(recompute=True)).make_batch(GradedGroups.of([]))
    assert batch.rows == []
    assert batch.metrics == {}
    assert len(batch.advantages) == 0


def test_entropies_are_given_to_a_method_that_needs_them(make_updater: Any) -> None:
    updater = make_updater({"name": "grpo"})
    batch = GroupLearner(updater, RLZVP()).make_batch(GradedGroups.of(GROUPS))
    rewards, valid = rewards_of(GROUPS)
    rows = [row for rows in batch.rows for row in rows]
    entropies, mask = torch.zeros(3, 3, 4), torch.zeros(3, 3, 4)
    places = [(p, g) for p in range(3) for g in range(3) if valid[p, g]]
    for (p, g), values in zip(places, updater.entropies(rows), strict=True):
        entropies[p, g, : len(values)] = torch.from_numpy(values)
        mask[p, g, : len(values)] = 1
    expected = rl_zvp_advantages(rewards, entropies, mask, valid=valid)
    for (p, g), row in zip(places, rows, strict=True):
        assert row.advantages.tolist() == expected[p, g, : len(row.completion)].tolist()
    wrong, correct = batch.rows[0][0].advantages, batch.rows[2][0].advantages
    assert (wrong <= 0).all()
    assert (correct > 0).all()
    assert len(set(correct.tolist())) > 1


def test_old_logprobs_are_computed_again_where_asked_for(learner: Any) -> None:
    plain, again = (
        learner({"name": "grpo", "kl_coefficient": 0.0}, old_logprobs=OldLogprobs(recompute=on)).make_batch(
            GradedGroups.of(GROUPS)
        )
        for on in (False, True)
    )
    assert plain.metrics == {}
    assert all((row.old_logprobs == -1.0).all() for rows in plain.rows for row in rows)
    changes = np.concatenate([abs(row.old_logprobs + 1.0) for row in again.rows[1]])
    assert again.metrics["policy/sampler_gap"] == pytest.approx(changes.mean(), rel=1e-5)
    assert changes.min() > 0
    assert again.metrics["policy/sampler_gap_max"] == pytest.approx(changes.max(), rel=1e-5)
    assert (again.rows[0][0].old_logprobs == -1.0).all()  # carries no gradient: not computed


@pytest.mark.parametrize("cap", [0.5, 2.0, 1e6])
def test_truncated_importance_weighs_each_token_of_another_sampler(learner: Any, cap: float) -> None:
    """The sampler says -1 for every token, so the weight is exp(the policy's + 1), at most the cap."""
    made = learner({"name": "grpo", "kl_coefficient": 0.0}, old_logprobs=OldLogprobs(True, cap))
    plain = learner({"name": "grpo", "kl_coefficient": 0.0}).make_batch(GradedGroups.of(GROUPS))
    batch = made.make_batch(GradedGroups.of(GROUPS))
    assert torch.equal(batch.advantages, plain.advantages)
    rows = [row for row in batch.rows[1] if row.advantages.any()]
    weights = [np.minimum(np.exp(row.old_logprobs.astype(float) + 1.0), cap) for row in rows]
    for row, unweighted, expected in zip(rows, plain.rows[1], weights, strict=True):
        assert row.advantages == pytest.approx(expected * unweighted.advantages, rel=1e-5)
    assert batch.metrics["policy/importance_mean"] == pytest.approx(np.concatenate(weights).mean(), rel=1e-5)
    beyond = np.concatenate([row.old_logprobs + 1.0 > math.log(cap) for row in rows])
    assert batch.metrics["policy/importance_truncated"] == pytest.approx(beyond.mean())
