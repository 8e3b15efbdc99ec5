"""What a step of verl is told as: the same numbers that our own trainer would give the same groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ngrpo.advantages import ngrpo_advantages
from ngrpo.config import config_of
from ngrpo.engines.verl.rollout_rows import missing_rollout
from ngrpo.engines.verl.steps import advantages_of, check_step, step_record
from ngrpo.errors import TrainingError
from ngrpo.training.collect import Collected, GradedGroups
from ngrpo.types import Completion, Grade, Group, Problem, Rollout

STATUS = {"c": ("correct", 1.0), "w": ("wrong", 0.0), "u": ("ungraded", 0.0)}


def group(name, kinds, tokens=4):
    """A letter per completion: correct, wrong, ungraded, or `-` for one that never came."""
    problem = Problem(name, "How?", "7")
    completion = Completion("text", np.arange(tokens), np.full(tokens, -0.5, dtype=np.float32), "stop")
    rollouts = [
        missing_rollout(problem, sample) if kind == "-" else Rollout(problem, sample, completion, Grade(*STATUS[kind]))
        for sample, kind in enumerate(kinds)
    ]
    return Group(problem, np.arange(3), tuple(rollouts))


@pytest.fixture
def config():
    return config_of(
        {
            "task": {"name": "countdown"},
            "model": {"path": "builtin:countdown-base"},
            "method": {"name": "ngrpo"},
            "sampling": {"group_size": 3, "problems_per_step": 2},
            "optimizer": {"updates_per_step": 1},
        }
    )


def collected(groups, in_batch, rounds=1):
    return Collected(GradedGroups.of(groups), torch.tensor(in_batch, dtype=torch.bool), rounds)


def test_advantages_are_the_methods_own(config):
    step = collected([group("a", "wwc"), group("b", "ccc"), group("c", "w-u")], [True, False, True], rounds=2)
    found = advantages_of(step, config)
    torch.testing.assert_close(found[0], ngrpo_advantages(torch.tensor([[0.0, 0.0, 1.0]]))[0])
    torch.testing.assert_close(found[1, 0], ngrpo_advantages(torch.tensor([[0.0]]))[0, 0])
    assert found[1, 1:].tolist() == [0, 0]


def test_overlong_completions_are_penalised_as_by_our_trainer():
    config = config_of(
        {
            "task": {"name": "countdown"},
            "model": {"path": "builtin:countdown-base"},
            "method": {"name": "dapo", "overlong_buffer_tokens": 4},
            "sampling": {"max_completion_tokens": 8},
        }
    )
    long = collected(
        [Group(g.problem, g.prompt_tokens, (*g.rollouts, *group("a", "c", 7).rollouts)) for g in [group("a", "wc")]],
        [True],
    )
    rewards = torch.tensor([[0.0, 1.0, 1.0]])
    expected = config.method.advantages(config.method.shaped_rewards(rewards, torch.tensor([[4, 4, 7]]), 8))
    torch.testing.assert_close(advantages_of(long, config), expected)
    assert expected[0, 2] < expected[0, 1]


def test_the_record_of_a_step_counts_what_was_dropped(config):
    step = collected([group("a", "wwc"), group("b", "ccc"), group("c", "w-u")], [True, False, True], rounds=2)
    record = step_record(step, 5, config)
    assert (record.rollouts_sampled, record.rollouts_trained) == (9, 4)
    assert record.metrics["group/all_correct"] == pytest.approx(1 / 3)
    assert record.metrics["reward/mean"] == pytest.approx(4 / 7)
    assert (record.metrics["batch/groups"], record.metrics["batch/sampled_groups"]) == (2, 3)
    assert (record.metrics["batch/rounds"], record.metrics["completion/tokens"]) == (2, 32)
    assert record.metrics["policy/entropy"] == 0.5
    assert [line["problem_id"] for line in record.rollouts] == list("aaabbbccc")
    assert [line["advantage"] is None for line in record.rollouts] == [False] * 3 + [True] * 3 + [False] * 3


def test_a_step_without_a_group_or_with_a_broken_grader_or_sampler_ends_the_run(config):
    check_step(collected([group("a", "wwc"), group("b", "uwc")], [True, True]), 1, config, problems=2)
    with pytest.raises(TrainingError, match="step 1: filter 'all_correct' dropped every one of 2 groups"):
        check_step(collected([group("a", "ccc"), group("b", "ccc")], [False, False]), 1, config, problems=2)
    with pytest.raises(TrainingError, match="step 3: 5 of 6 completions could not be graded"):
        check_step(collected([group("a", "uuu"), group("b", "u-c")], [False, True]), 3, config, problems=2)
    with pytest.raises(TrainingError, match=r"6 of 9 completions could not be graded \(verl delivered no completion\)"):
        check_step(collected([group("a", "wwc")], [True]), 3, config, problems=3)
    with pytest.raises(TrainingError, match="6 of 6 completions"):
        check_step(collected([], []), 1, config, problems=2)


def test_nothing_is_said_of_advantages_that_a_critic_gives():
    config = config_of(
        {
            "task": {"name": "countdown"},
            "model": {"path": "builtin:countdown-base"},
            "method": {"name": "ppo"},
            "sampling": {"group_size": 3},
        }
    )
    record = step_record(collected([group("a", "wwc"), group("b", "ccc")], [True, True]), 1, config)
    assert [line["advantage"] for line in record.rollouts] == [None] * 6
    assert not any(name.startswith("advantage/") for name in record.metrics)
    assert record.metrics["group/mixed"] == 0.5
