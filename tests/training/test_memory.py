"""Out of memory in an update: halved, redone from the same state; never for other errors; an end when nothing fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ngrpo.errors import TrainingError
from ngrpo.training.memory import MicroBatchBudget

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ALLOCATOR)]
)
def test_the_budget_is_halved_until_it_fits(error: BaseException) -> None:
    budget, said, undone = MicroBatchBudget(100), list[str](), list[int]()
    budget.on_message = said.append

    def compute() -> int:
        if budget.tokens > 30:
            raise error
        return budget.tokens

    assert budget.fitted(compute, longest=10, undo=lambda: undone.append(budget.tokens)) == 25
    assert undone == [100, 50]
    assert said[0].startswith("out of memory in an update: micro-batches of 50 tokens in place of 100; to start with")
    assert len(said) == 2


def test_one_row_that_does_not_fit_is_the_end() -> None:
    def compute() -> None:
        raise MemoryError

    with pytest.raises(TrainingError, match="out of memory in an update, with one row of 40 tokens at a time"):
        MicroBatchBudget(100).fitted(compute, longest=40)


def test_other_errors_pass() -> None:
    def compute() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        MicroBatchBudget(100).fitted(compute, longest=1)


def test_an_update_that_fails_half_way_is_that_of_the_smaller_budget(
    make_updater: Any, random_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, smaller = (make_updater({"name": "ngrpo"}, tokens_per_micro_batch=budget) for budget in (64, 32))
    loss, calls = failing._loss, [0]

    def fail_once(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:  # after the gradient of the first micro-batch
            raise RuntimeError(ALLOCATOR)
        return loss(*arguments, **named)

    monkeypatch.setattr(failing, "_loss", fail_once)
    for updater in (failing, smaller):
        updater.take_updates([random_rows] * 2, step=1)
    assert failing.budget.tokens == 32
    for one, other in zip(failing.parameters.values(), smaller.parameters.values(), strict=True):
        assert torch.equal(one, other)
