from __future__ import annotations

import pytest

from ngrpo.runs.announcement import clip_fact, run_facts
from tests.training.conftest import small_config


def test_ngrpo_says_what_it_does_with_each_kind() -> None:
    assert run_facts(small_config("sampling.group_size=8")) == [
        "clip [0.84, 1.24]: can bind from the second of the 4 updates of a step on",
        "all-wrong groups: advantage -0.333 for each completion",
        "mixed groups: with 1 of 8 correct, advantage +1.764 for it, -0.504 for the others",
        "all-correct groups: filtered out, replaced by further problems",
    ]


@pytest.mark.parametrize(
    ("overrides", "sentences"),
    [
        (["method.name=grpo"], ["all-wrong groups: advantage 0, no gradient (KL and entropy terms still act)"]),
        (["method.name=grpo", "method.kl_coefficient=0.0"], ["all-correct groups: advantage 0, no gradient"]),
        (["method.name=rl_zvp"], ["all-wrong groups: each token's advantage follows its entropy"]),
        (["method.refill=false"], ["all-correct groups: filtered out, not replaced"]),
        (
            ["method.name=psr_nsr"],
            [
                "all-wrong groups: advantage -1.000 for each completion",
                "all-correct groups: advantage +0.100 for each completion",
            ],
        ),
        (
            ["method.name=dapo", "method.overlong_buffer_tokens=2"],
            ["all-wrong groups: filtered out, replaced by further problems"],
        ),
        (["method.calibrate=all_wrong"], ["mixed groups: with 1 of 4 correct, advantage +1.500 for it"]),
        (["sampling.group_size=1"], ["all-wrong groups: advantage -0.707 for each completion"]),
        (["method.entropy_bonus=0.001"], ["entropy bonus 0.001: completions without advantage are computed too; "]),
    ],
)
def test_each_method_tells_its_own(overrides: list[str], sentences: list[str]) -> None:
    facts = run_facts(small_config(*overrides))
    for sentence in sentences:
        assert any(fact.startswith(sentence) for fact in facts), facts


def test_a_group_of_one_is_never_mixed() -> None:
    assert not any("mixed" in fact for fact in run_facts(small_config("sampling.group_size=1")))


def test_with_one_update_the_clip_cannot_bind() -> None:
    fact = clip_fact(small_config("optimizer.updates_per_step=1"))
    assert fact.startswith("clip [0.84, 1.24]: cannot bind, because with one update per step the ratio is 1")
    assert "by rounding" in clip_fact(small_config("optimizer.updates_per_step=1", "sampling.old_logprobs=sampler"))
