"""Rows of verl's transfer queue as groups; needs neither verl nor Ray."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoTokenizer

from ngrpo.engines.verl.rollout_rows import FIELDS, groups_of
from ngrpo.engines.verl.verl_files import problem_text
from ngrpo.models.paths import resolve_model_path
from ngrpo.types import Problem


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve_model_path("builtin:countdown-base"))


@pytest.fixture
def groups(tokenizer):
    def make(*rows, group_size=2):
        """Each row: key, text, whether it ended, status, score."""
        fields = {name: [] for name in FIELDS}
        for key, text, ended, status, score in rows:
            tokens = tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id] * ended
            problem = Problem(f"p-{key[0]}", "How?", "7", metadata={"numbers": [1, 2]})
            fields["prompts"].append(torch.tensor([1, 2, 3]))
            fields["responses"].append(torch.tensor(tokens))
            fields["rollout_log_probs"].append(torch.full((len(tokens),), -0.5))
            told = {"status": status, "score": score, "pred": "7" if status == "correct" else "", "reason": "why"}
            fields["extra_fields"].append({"reward_extra_info": told})
            fields["reward_model"].append({"ground_truth": problem.reference})
            fields["extra_info"].append({"problem": problem_text(problem)})
        keys = [row[0] for row in rows]
        stops = frozenset([tokenizer.eos_token_id])
        return groups_of(keys, fields, group_size=group_size, tokenizer=tokenizer, stop_tokens=stops)

    return make


def test_rows_become_whole_groups_wherever_they_stand(groups):
    found = groups(
        ("b_1_0", "1 2 +", True, "wrong", 0.0),
        ("a_0_0", "3", False, "correct", 1.0),
        ("b_0_0", "", True, "no_answer", 0.0),
        ("a_1_0", "4 4 *", True, "ungraded", math.nan),
    )
    assert [(g.problem.id, len(g.rollouts), g.prompt_tokens.tolist()) for g in found] == [
        ("p-b", 2, [1, 2, 3]),
        ("p-a", 2, [1, 2, 3]),
    ]
    assert found[0].problem.metadata == {"numbers": [1, 2]}
    (first, second), (third, fourth) = (g.rollouts for g in found)
    assert [r.sample for r in (first, second, third, fourth)] == [0, 1, 0, 1]
    assert (second.completion.text, second.completion.finish_reason) == ("1 2 +", "stop")
    assert (third.completion.text, third.completion.finish_reason) == ("3", "length")
    assert first.completion.text == ""
    assert len(first.completion.tokens) == 1
    assert (third.grade.status, third.grade.reward, third.grade.answer) == ("correct", 1.0, "7")
    assert (fourth.grade.status, fourth.grade.reward, fourth.grade.reason) == ("ungraded", 0.0, "why")
    assert second.completion.logprobs.tolist() == [-0.5] * len(second.completion.tokens)


def test_a_sample_that_never_came_is_ungraded(groups):
    (found,) = groups(("a_2_0", "3", True, "correct", 1.0), group_size=3)
    assert [r.grade.status for r in found.rollouts] == ["ungraded", "ungraded", "correct"]
    assert [len(r.completion.tokens) for r in found.rollouts][:2] == [0, 0]
    assert found.rollouts[0].grade.reason == "verl delivered no completion"
