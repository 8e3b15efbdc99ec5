from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ngrpo.config import SamplingSettings
from ngrpo.errors import DataError, GradingError
from ngrpo.methods import load_method
from ngrpo.training.collect import Collected, collect_groups, rewards_of
from ngrpo.training.prompt_source import PromptSource


@pytest.fixture
def source_of(scripted: Any, words: Any) -> Callable[..., PromptSource]:
    def make(seed: int = 0, max_prompt_tokens: int = 10, **task: Any) -> PromptSource:
        return PromptSource(scripted(**task), words, seed=seed, max_prompt_tokens=max_prompt_tokens)

    return make


@pytest.fixture
def collect(scripted: Any, words: Any, sampler: Any) -> Callable[..., Collected]:
    def run(
        method: dict[str, Any], *, problems: int = 4, group_size: int = 3, max_prompt_tokens: int = 10, **task: Any
    ) -> Collected:
        made = scripted(**task)
        settings = SamplingSettings(
            problems_per_step=problems, group_size=group_size, max_prompt_tokens=max_prompt_tokens
        )
        source = PromptSource(made, words, seed=0, max_prompt_tokens=max_prompt_tokens)
        return collect_groups(sampler, source, made, load_method(method), settings, seed=7, step=5)

    return run


def ids(prompts: Any) -> list[str]:
    return [prompt.problem.id for prompt in prompts]


def test_each_epoch_is_a_permutation_of_its_own_decided_by_the_seed(source_of: Any) -> None:
    source = source_of()
    epochs = [ids(source.take(20, set())) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(f"p{i}" for i in range(20))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    again = source_of()
    assert [ids(again.take(20, set())) for _ in range(3)] == epochs
    assert ids(source_of(seed=1).take(20, set())) != epochs[0]


@pytest.mark.parametrize("cursor", [0, 5, 19, 20, 33])
def test_a_source_set_to_a_cursor_goes_on_from_there(source_of: Any, cursor: int) -> None:
    first = source_of()
    for _ in range(cursor):
        first.take(1, set())
    assert first.cursor == cursor
    resumed = source_of()
    resumed.cursor = cursor
    assert ids(resumed.take(9, set())) == ids(first.take(9, set()))
    assert resumed.cursor == first.cursor


def test_no_problem_comes_twice_in_a_step_though_an_epoch_ends_within_it(source_of: Any) -> None:
    source = source_of(size=5)
    source.take(3, set())
    used: set[str] = set()
    taken = ids(source.take(3, used)) + ids(source.take(2, used))
    assert sorted(taken) == [f"p{i}" for i in range(5)]
    assert source.take(1, used) == []


def test_overlong_and_empty_prompts_are_passed_over(source_of: Any) -> None:
    source = source_of(size=6, words=(3, 11, 0), max_prompt_tokens=10)
    used: set[str] = set()
    assert sorted(ids(source.take(6, used))) == ["p0", "p3"]
    assert len(used) == 6


def test_a_prompt_of_exactly_the_bound_is_taken(source_of: Any) -> None:
    assert len(source_of(size=2, words=(10, 11)).take(2, set())) == 1


def test_overlong_problems_are_counted_once_a_step(collect: Any) -> None:
    collected = collect({"name": "ngrpo"}, problems=6, size=6, words=(3, 3, 99))
    assert (len(collected.sampled), collected.overlong, collected.no_problem_left) == (4, 2, True)
    none = collect({"name": "ngrpo"}, problems=6, size=6)
    assert (len(none.sampled), none.overlong, none.no_problem_left) == (6, 0, False)


def test_when_every_prompt_is_overlong_one_line_says_so(collect: Any, sampler: Any) -> None:
    with pytest.raises(DataError, match=r"none of the 20 problems of task 'scripted' .* 1 to 10 tokens") as error:
        collect({"name": "ngrpo"}, words=(11,))
    assert "\n" not in str(error.value)
    assert sampler.calls == []


@pytest.mark.parametrize(
    ("filter", "kept"),
    [("none", "wcmh"), ("all", "mh"), ("all_correct", "wmh"), ("all_incorrect", "cmh")],
)
def test_filters_keep_what_their_name_says_and_never_groups_with_fewer_than_two_graded(
    collect: Any, filter: str, kept: str
) -> None:
    kinds = "wcmu1h"
    collected = collect({"name": "ngrpo", "filter": filter, "refill": False}, problems=6, kinds=kinds, size=6)
    assert len(collected.sampled) == 6
    in_batch = {kinds[int(g.problem.id[1:])] for g in collected.batch.groups}
    assert in_batch == set(kept)


def test_groups_are_whole_and_numbered_and_drawn_under_seed_and_step(collect: Any, sampler: Any) -> None:
    collected = collect({"name": "ngrpo"}, kinds="mwc", group_size=5)
    for group in collected.sampled.groups:
        assert [rollout.sample for rollout in group.rollouts] == [0, 1, 2, 3, 4]
        assert [rollout.completion.text for rollout in group.rollouts] == list("01234")
        assert all(rollout.problem is group.problem for rollout in group.rollouts)
    assert all(call[1:] == (7, "step 5") for call in sampler.calls)


def test_refill_goes_on_until_the_batch_is_full_and_samples_no_more_than_is_missing(collect: Any, sampler: Any) -> None:
    collected = collect({"name": "ngrpo"}, problems=6, kinds="cm", size=40)
    assert len(collected.batch) == 6
    assert len(collected.sampled) == sum(len(call[0]) for call in sampler.calls) > 6
    kept_before = 0
    flags = iter(collected.in_batch.tolist())
    for names, *_ in sampler.calls:
        assert len(names) == 6 - kept_before
        kept_before += sum(next(flags) for _ in names)
    assert collected.rounds == len(sampler.calls)
    seen = [group.problem.id for group in collected.sampled.groups]
    assert len(set(seen)) == len(seen)
    assert not collected.no_problem_left


@pytest.mark.parametrize(("factor", "sampled"), [(1.0, 4), (1.6, 6), (2.0, 8), (3.3, 13)])
def test_refill_stops_at_its_bound(collect: Any, factor: float, sampled: int) -> None:
    collected = collect({"name": "ngrpo", "max_refill_factor": factor}, kinds="c", size=100)
    assert len(collected.sampled) == sampled
    assert len(collected.batch) == 0
    assert not collected.no_problem_left


def test_refill_stops_when_problems_run_out(collect: Any) -> None:
    collected = collect({"name": "ngrpo"}, kinds="c", size=7)
    assert len(collected.sampled) == 7
    assert collected.no_problem_left


def test_without_refill_there_is_one_round(collect: Any, sampler: Any) -> None:
    collected = collect({"name": "ngrpo", "refill": False}, kinds="cm", problems=10)
    assert len(sampler.calls) == collected.rounds == 1
    assert len(collected.sampled) == 10 > len(collected.batch)
    assert not collected.no_problem_left


def test_rewards_of_groups(collect: Any) -> None:
    collected = collect({"name": "grpo"}, problems=3, kinds="wmh", size=3)
    by_id = sorted(collected.sampled.groups, key=lambda group: group.problem.id)
    rewards, valid = rewards_of(by_id)
    assert rewards.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert valid.tolist() == [[True] * 3, [True] * 3, [False, True, True]]


class WaitingSampler:
    """Gives the second completion when the first has been graded, the last of them first."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self.graded = threading.Event()

    def stream(self, requests: Any, decoding: Any, **names: Any) -> Iterator[tuple[int, Any]]:
        sampled = list(self._sampler.stream(requests, decoding, **names))
        yield sampled.pop()
        assert self.graded.wait(30), "nothing is graded before everything is sampled"
        yield from reversed(sampled)


def test_completions_are_graded_while_others_are_sampled(
    collect: Any, scripted: Any, words: Any, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collect({"name": "ngrpo"})
    waiting = WaitingSampler(sampler)
    made = scripted()
    grade_many = type(made).grade_many

    def graded(task: Any, answers: Any) -> Any:
        grades = grade_many(task, answers)
        waiting.graded.set()
        return grades

    monkeypatch.setattr(type(made), "grade_many", graded)
    settings = SamplingSettings(problems_per_step=4, group_size=3, max_prompt_tokens=10)
    source = PromptSource(made, words, seed=0, max_prompt_tokens=10)
    found = collect_groups(waiting, source, made, load_method({"name": "ngrpo"}), settings, seed=7, step=5)  # type: ignore[arg-type]
    assert [group.problem.id for group in found.sampled.groups] == [
        group.problem.id for group in expected.sampled.groups
    ]
    assert found.sampled.rewards.tolist() == expected.sampled.rewards.tolist()
    texts = [[[r.completion.text for r in group.rollouts] for group in c.sampled.groups] for c in (found, expected)]
    assert texts[0] == texts[1]


def test_an_error_of_the_grader_ends_the_step(
    scripted: Any, words: Any, sampler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scripted()

    def broken(*_: Any) -> Any:
        raise GradingError("no process can be started")

    monkeypatch.setattr(type(made), "grade_many", broken)
    settings = SamplingSettings(problems_per_step=4, group_size=3, max_prompt_tokens=10)
    source = PromptSource(made, words, seed=0, max_prompt_tokens=10)
    with pytest.raises(GradingError, match=r"^no process can be started$"):
        collect_groups(sampler, source, made, load_method({"name": "ngrpo"}), settings, seed=7, step=5)
