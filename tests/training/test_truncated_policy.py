"""Truncated sampling and stop strings in training: one distribution in sampler and trainer, and exact bookkeeping."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngrpo.kept_tokens import NO_TRUNCATION
from ngrpo.methods import load_method
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.training.batch import TokenRow, TrainingRow
from ngrpo.training.collect import GradedGroups, grade_groups
from ngrpo.training.learner import GroupLearner, OldLogprobs, without_truncated
from ngrpo.training.optimizer import update_metrics
from ngrpo.training.rollout_journal import JournaledSampler
from ngrpo.types import Completion, Problem

DECODINGS = {
    "all": Decoding(0.9, 1.0, 8),
    "top_p": Decoding(0.9, 0.8, 8),
    "top_k": Decoding(1.3, 1.0, 8, top_k=4),
    "min_p": Decoding(1.0, 1.0, 8, min_p=0.15),
    "together": Decoding(1.5, 0.95, 8, top_k=12, min_p=0.02, stop=("+", "12")),
}
TEXTS = ("2 7 9 12 = 23 :", "1 3 4 6 = 24 :", "5 5 5 5 = 10 :", "2 3 4 = 20 :")


def prompts_of(lm: Any) -> list[Prompt]:
    return [
        Prompt(Problem(str(i), text, ""), np.asarray(lm.tokenizer.encode(text), dtype=np.int64))
        for i, text in enumerate(TEXTS)
    ]


def sampled(lm: Any, decoding: Decoding) -> list[list[Completion]]:
    sampler = TransformersSampler(lm, max_sequences=7)
    return sampler.sample(prompts_of(lm), range(8), replace(decoding, record_kept=True), seed=0, round_name="step 1")


def rows_of(lm: Any, completions: list[list[Completion]]) -> list[TrainingRow]:
    return [
        TrainingRow(p.tokens, c.tokens, c.logprobs, np.full_like(c.logprobs, i % 2 - 0.4), kept=c.kept)
        for p, few in zip(prompts_of(lm), completions, strict=True)
        for i, c in enumerate(few)
    ]


@pytest.mark.parametrize("name", DECODINGS)
def test_the_samplers_logprobs_are_the_trainers_under_the_same_settings(name: str, make_updater: Any) -> None:
    """Must show: the gap of each token is at most 1e-5, so the ratio of the first update is 1."""
    decoding = DECODINGS[name]
    updater = make_updater({"name": "ngrpo"}, temperature=decoding.temperature, lr=3e-3, max_grad_norm=100.0)
    rows = rows_of(updater.policy, sampled(updater.policy, decoding))
    assert all((row.kept is None) == decoding.truncation.keeps_all for row in rows)
    gaps = [abs(a - row.old_logprobs).max() for a, row in zip(updater.logprobs(rows), rows, strict=True)]
    assert max(gaps) <= 1e-5
    plain = [TokenRow(row.prompt, row.completion) for row in rows]
    of_all = [abs(a - row.old_logprobs).max() for a, row in zip(updater.logprobs(plain), rows, strict=True)]
    assert (max(of_all) > 0.01) == (name != "all")  # what a softmax over all tokens would be off by
    first = update_metrics(updater.take_updates([rows], step=1))
    assert abs(first["policy/approx_kl"]) < 1e-5
    assert first["clip/low_fraction"] == first["clip/high_fraction"] == 0.0
    # Later updates have the ratio of the same kept tokens: a sampled one never has probability 0.
    later = update_metrics(updater.take_updates([rows] * 3, step=2))
    assert later["update/skipped"] == 0
    assert np.isfinite(later["policy/approx_kl"])
    assert later["policy/approx_kl"] > 1e-4


@pytest.mark.parametrize("name", ["top_p", "top_k", "min_p", "together"])
def test_kept_tokens_are_found_again_where_a_sampler_does_not_record_them(name: str, make_updater: Any) -> None:
    decoding = DECODINGS[name]
    updater = make_updater({"name": "ngrpo"}, temperature=decoding.temperature)
    rows = rows_of(updater.policy, sampled(updater.policy, decoding))
    plain = [TokenRow(row.prompt, row.completion) for row in rows]
    for row, found in zip(rows, updater.with_kept(plain, decoding.truncation), strict=True):
        assert row.kept is not None
        assert found.kept is not None
        assert found.kept.counts.tolist() == row.kept.counts.tolist()
        ends = np.cumsum(row.kept.counts)[:-1]
        for a, b in zip(np.split(row.kept.tokens, ends), np.split(found.kept.tokens, ends), strict=True):
            assert set(a) == set(b)


def test_a_learner_asks_for_kept_tokens_only_where_they_are_missing(
    make_updater: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = DECODINGS["top_k"]
    updater = make_updater({"name": "ngrpo"}, temperature=decoding.temperature)
    completions = sampled(updater.policy, decoding)
    asked: list[int] = []
    found_again = updater.with_kept
    monkeypatch.setattr(updater, "with_kept", lambda rows, rules: asked.append(len(rows)) or found_again(rows, rules))
    for kept, truncation in [(True, decoding.truncation), (False, decoding.truncation), (False, NO_TRUNCATION)]:
        some = completions if kept else [[replace(c, kept=None) for c in few] for few in completions]
        graded = _graded(scripted, prompts_of(updater.policy), some)
        learner = GroupLearner(updater, load_method({"name": "ngrpo"}), OldLogprobs(truncation=truncation))
        rows = learner.make_batch(graded).rows
        assert all((row.kept is None) == (truncation is NO_TRUNCATION) for group in rows for row in group)
    assert asked == [32]


def _graded(scripted: Any, prompts: list[Prompt], completions: list[list[Completion]]) -> GradedGroups:
    """Every first completion is correct."""
    numbered = [[replace(c, text=str(i)) for i, c in enumerate(few)] for few in completions]
    known = [replace(p, problem=replace(p.problem, metadata={"i": 0})) for p in prompts]
    return GradedGroups.of(grade_groups(scripted(), known, numbered))


def test_masked_completions_count_in_their_group_and_are_not_trained_on(make_updater: Any, scripted: Any) -> None:
    updater = make_updater({"name": "grpo"})
    completions = sampled(updater.policy, Decoding(1.0, 1.0, 6, stop=("+",)))
    graded = _graded(scripted, prompts_of(updater.policy), completions)
    batch = GroupLearner(updater, load_method({"name": "grpo"})).make_batch(graded)
    rows = without_truncated(batch.rows, graded)
    cut = [[c.finish_reason == "length" for c in few] for few in completions]
    assert 0 < sum(map(sum, cut)) < 32
    assert [len(group) for group in rows] == [n for few in cut if (n := 8 - sum(few))]
    assert bool((batch.advantages[torch.tensor(cut)] != 0).any())
    whole = [
        row for group, few in zip(batch.rows, cut, strict=True) for row, c in zip(group, few, strict=True) if not c
    ]
    assert [id(row) for group in rows for row in group] == [id(row) for row in whole]


def test_the_journal_keeps_what_was_kept(tmp_path: Path, countdown_model: Any) -> None:
    prompts, decoding = prompts_of(countdown_model), replace(DECODINGS["together"], record_kept=True)
    found = []
    for _ in range(2):  # the second time from the journal alone
        sampler = JournaledSampler(TransformersSampler(countdown_model), tmp_path / "journal", step=1)
        found.append(sampler.sample(prompts, range(4), decoding, seed=0, round_name="step 1"))
    assert sampler.taken_up == 16
    for a, b in zip(chain(*found[0]), chain(*found[1]), strict=True):
        assert (a.text, a.finish_reason, a.tokens.tolist()) == (b.text, b.finish_reason, b.tokens.tolist())
        assert a.kept.counts.tolist() == b.kept.counts.tolist()
        assert a.kept.tokens.tolist() == b.kept.tokens.tolist()


@pytest.mark.parametrize("method", ["ngrpo", "ppo", "gspo"])
def test_a_run_with_all_of_it_resumes_byte_for_byte(tmp_path: Path, small_config: Any, train: Any, method: str) -> None:
    settings = (
        f"method.name={method}",
        "sampling.top_k=5",
        "sampling.min_p=0.01",
        "sampling.stop=['*']",
        "sampling.truncated=masked",
        "sampling.max_completion_tokens=7",
        "run.save_every=1",
    )
    whole = train(tmp_path / "whole", small_config(*settings, "run.steps=2"))
    train(tmp_path / "parts", small_config(*settings, "run.steps=1"))
    parts = train(tmp_path / "parts", small_config(*settings, "run.steps=2"))
    assert whole.rollouts_path.read_bytes() == parts.rollouts_path.read_bytes()
    a, b = (run.checkpoint_path(2) / "model.safetensors" for run in (whole, parts))
    assert a.read_bytes() == b.read_bytes()
    rollouts = list(whole.read_rollouts())
    assert all("*" not in rollout["completion"] for rollout in rollouts)
    assert all("policy/sampler_gap" not in line for line in whole.read_metrics())
    assert {rollout["finish_reason"] for rollout in rollouts} == {"stop", "length"}
