from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ngrpo.config import SamplingSettings
from ngrpo.methods import load_method
from ngrpo.training.collect import Collected, GradedGroups, collect_groups
from ngrpo.training.metrics import TrainerState, step_metrics
from ngrpo.training.optimizer import UpdateSums, UpdateTotals, update_metrics
from ngrpo.training.prompt_source import PromptSource


@pytest.fixture
def metrics_of(scripted: Any, words: Any, sampler: Any) -> Any:
    def run(kinds: str, totals: UpdateTotals, **method_settings: Any) -> tuple[Collected, dict[str, Any]]:
        method = load_method({"name": "ngrpo", "refill": False, **method_settings})
        task = scripted(kinds=kinds, size=len(kinds))
        settings = SamplingSettings(problems_per_step=len(kinds), group_size=4)
        source = PromptSource(task, words, seed=0, max_prompt_tokens=10)
        collected = collect_groups(sampler, source, task, method, settings, seed=0, step=1)
        advantages = (
            method.advantages(collected.batch.rewards, collected.batch.valid)
            if len(collected.batch)
            else torch.zeros(0, 4)
        )
        state = TrainerState()
        state.advance(1, sampled=collected.rollouts_sampled, tokens=56, trained=collected.rollouts_trained, updates=3)
        return collected, step_metrics(collected, advantages, method) | state.totals() | update_metrics(totals)

    return run


def test_what_happened_in_a_step(metrics_of: Any) -> None:
    _, metrics = metrics_of("wcmu", UpdateTotals())
    assert [metrics[f"group/{kind}"] for kind in ("all_wrong", "all_correct", "mixed", "ungraded")] == [0.25] * 4
    assert metrics["reward/mean"] == pytest.approx(5 / 12)  # over the 12 graded ones
    assert metrics["reward/ungraded"] == 0.25
    # Of 16 sampled rollouts, the 8 of the all-wrong and the mixed group have an advantage.
    assert metrics["advantage/nonzero"] == 0.5
    assert metrics["advantage/from_all_correct"] == 0.0
    assert metrics["policy/entropy"] == pytest.approx(0.5)
    assert metrics["completion/mean_tokens"] == 3.5  # 2, 3, 4 and 5 tokens
    assert metrics["completion/tokens"] == 56
    assert metrics["completion/truncated"] == 0.25
    assert (metrics["batch/groups"], metrics["batch/sampled_groups"], metrics["batch/rounds"]) == (2, 4, 1)
    assert metrics["batch/overlong_problems"] == 0
    assert metrics["total/rollouts_sampled"] == 16
    assert metrics["total/tokens_sampled"] == 56
    assert metrics["total/rollouts_trained"] == 8
    assert metrics["total/updates"] == 3


@pytest.mark.parametrize(
    ("answers", "distinct", "same"),
    [("1234", 0.5, 0.0), ("7777", 0.0, 0.5), ("1123", 0.0, 0.0), (["", "", "", ""], 0.5, 0)],
)
def test_all_wrong_groups_by_their_answers(metrics_of: Any, answers: list[str], distinct: float, same: float) -> None:
    collected, _ = metrics_of("wc", UpdateTotals())
    wrong, correct = collected.sampled.groups
    rollouts = tuple(
        replace(
            rollout,
            completion=replace(rollout.completion, text=f"no answer {rollout.sample}"),
            grade=replace(rollout.grade, answer=answer or None),
        )
        for rollout, answer in zip(wrong.rollouts, answers, strict=True)
    )
    groups = GradedGroups.of([replace(wrong, rollouts=rollouts), correct])
    metrics = step_metrics(replace(collected, sampled=groups), torch.zeros(1, 4), load_method({"name": "ngrpo"}))
    assert (metrics["group/all_wrong_distinct"], metrics["group/all_wrong_same"]) == (distinct, same)


def test_a_step_without_a_batch_has_every_key_too(metrics_of: Any) -> None:
    empty, metrics = metrics_of("cc", UpdateTotals())
    assert len(empty.batch) == 0
    _, full = metrics_of("wm", UpdateTotals())
    assert metrics.keys() == full.keys() >= {"clip/low_fraction", "clip/high_fraction", "policy/approx_kl"}
    assert metrics["batch/groups"] == metrics["advantage/nonzero"] == 0


def test_totals_are_means_over_updates_and_over_tokens() -> None:
    totals = UpdateTotals()
    for tokens, loss, norm, kl in ((10, 1.0, 2.0, 5.0), (30, 3.0, 4.0, 1.0), (7, float("nan"), float("nan"), 9.0)):
        sums = UpdateSums(rows=4, rows_computed=3, tokens=tokens, loss=loss)
        sums.add("policy/approx_kl", torch.tensor(kl))
        totals.add(sums, norm)
    metrics = update_metrics(totals)
    assert (metrics["update/count"], metrics["update/skipped"]) == (2, 1)
    assert (metrics["update/rows"], metrics["update/rows_computed"]) == (12, 9)
    assert (metrics["update/loss"], metrics["update/grad_norm"]) == (2.0, 3.0)
    assert metrics["policy/approx_kl"] == pytest.approx(6 / 40)
    assert metrics["clip/low_fraction"] == 0.0
