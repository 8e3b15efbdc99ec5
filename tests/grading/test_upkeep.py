"""A grading process does not grow for ever, and what it graded before does not change a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngrpo.grading import GraderPool, server, upkeep

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
FIRST, FURTHER = 30, 20


def serving(pool: GraderPool) -> int:
    """Returns the process id of the fork that graded last."""
    return pool._workers[0]._serving


def mebibytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) / 256


def integral(n: int) -> tuple[str, str]:
    """Returns a definite integral whose quadrature nodes serve no other, and its value or, for every 7th, another."""
    return rf"\boxed{{e^{{\frac{{{n}}}{{97}}}}-{1 + (n % 7 == 0)}}}", rf"\int_0^{{\frac{{{n}}}{{97}}}} e^x\,dx"


@needs_proc
def test_definite_integrals_leave_no_memory_behind() -> None:
    """Each left about 0.5 MB before; see `upkeep.reset_libraries`."""
    with GraderPool(timeout_seconds=20.0) as pool:
        pool.grade_many([integral(n) for n in range(1, FIRST + 1)])  # the nodes that all integrals share are there
        fork, before = serving(pool), mebibytes(serving(pool))
        grades = pool.grade_many([integral(n) for n in range(FIRST + 1, FIRST + FURTHER + 1)])
        assert serving(pool) == fork
        assert mebibytes(fork) - before < 0.3 * FURTHER
    expected = ["wrong" if n % 7 == 0 else "correct" for n in range(FIRST + 1, FIRST + FURTHER + 1)]
    assert [grade.status for grade in grades] == expected
    assert {grade.reason for grade in grades} == {"sympy"}


_kept: list[bytes] = []
_first = {"loaded": False}


def hoarder(completion: str, reference: str) -> bool:
    """A custom grader that keeps 20 MB per pair, each long enough for the memory to be checked before the next."""
    time.sleep(2 * server.FLUSH_SECONDS)
    _kept.append(bytes(20 << 20))
    return completion == reference


def loader(completion: str, reference: str) -> str | float:
    """A custom grader that loads 600 MB at its first call and nothing later; the reward is the number of its calls."""
    if not _first["loaded"]:
        _kept.append(bytes(600 << 20))
        _first["loaded"] = True
    _kept.append(b"")
    return len(_kept) / 100


def hungry(completion: str, reference: str) -> bool:
    """A custom grader that keeps 150 MB per pair, more than a process may have for many of them."""
    bytes(int(completion) << 20)
    _kept.append(bytes(150 << 20))
    return completion == reference


def test_a_process_that_grows_is_renewed_and_each_pair_is_judged() -> None:
    pairs = [(str(n), str(n - n % 3)) for n in range(60)]
    forks = set()
    with GraderPool(grader="tests.grading.test_upkeep:hoarder", memory_gib=1.0) as pool:
        for start in range(0, 60, 20):
            grades = pool.grade_many(pairs[start : start + 20])
            assert [g.status for g in grades] == ["wrong" if n % 3 else "correct" for n in range(start, start + 20)]
            forks.add(serving(pool))
    assert len(forks) == 3


def test_what_a_custom_grader_loads_at_its_first_call_is_no_growth() -> None:
    with GraderPool(grader="tests.grading.test_upkeep:loader", memory_gib=1.0) as pool:
        grades = pool.grade_many([(str(n), "") for n in range(50)])
    assert [grade.reward for grade in grades] == [(n + 2) / 100 for n in range(50)]


def test_a_pair_without_memory_is_tried_again_in_a_new_process() -> None:
    """Each of them leaves the process too small for the next; the last is too large for any."""
    sizes = ["500", "500", "500", "400", "500", "2000"]
    with GraderPool(grader="tests.grading.test_upkeep:hungry", memory_gib=0.9) as pool:
        grades = pool.grade_many([(size, size) for size in sizes])
    assert [(g.status, g.reason) for g in grades] == [("correct", "custom grader")] * 5 + [("ungraded", "memory")]


@pytest.mark.parametrize(
    ("size", "worn"), [(100, False), (131, False), (133, False), (356, False), (357, True), (600, True)]
)
def test_when_a_process_is_worn(monkeypatch: pytest.MonkeyPatch, size: int, worn: bool) -> None:
    now: list[int] = [100 << 20]
    sized: Callable[[], Any] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(upkeep, "address_space", sized)
    memory = upkeep.Memory(2 << 30)
    small = upkeep.Memory(150 << 20)
    now[0] = size << 20
    assert memory.is_worn() == worn
    assert small.is_worn() == (size > 132)


def test_random_numbers_are_seeded_and_nodes_dropped() -> None:
    import random

    import mpmath
    import sympy.core.random as sympy_random

    drawn = []
    for _ in range(2):
        mpmath.quad(mpmath.exp, [0, 3])
        upkeep.reset_libraries()
        assert not mpmath.mp._tanh_sinh.transformed_cache
        drawn.append((random.random(), sympy_random.random(), random.random()))
    assert drawn[0] == drawn[1]
