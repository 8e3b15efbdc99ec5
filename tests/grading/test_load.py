"""Verdicts do not depend on what else the machine does; threads and asyncio may share a pool."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ngrpo.grading import GraderPool

BUSY = 4
FORMS = [
    ("x^{n}+{a}x", "x({a}+x^{m})"), (r"\sqrt{{n}{a}}", r"\sqrt{{n}}\sqrt{{a}}"), (r"\frac{{n}}{{a}}", r"{n}:{a}"),
    ("{n}", "{a}"), (r"({n},{a})", r"({a},{n})"), (r"[{n},{a}{a})", r"{n}\le x<{a}{a}"), (r"\sin({n}x)", r"2\sin(x)"),
    ("x={n}", "{n}"), (r"\int_0^{n} {a}x\,dx", r"\frac{{a}\cdot {n}^2}{2}"), ("({n}^{{a}{n}})!", "{a}"),
    (r"\sum_{k=1}^{{n}} k^{a}", "{n}^{a}"), ("{n}.{a}{a}{a}", r"{n}\frac{{a}}{9}"),
]  # fmt: skip


def pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of all forms with small numbers in them, right and wrong, cheap and dear."""
    draw = random.Random(0)

    def filled(form: str, n: int, a: int) -> str:
        return form.replace("{n}", str(n)).replace("{m}", str(n - 1)).replace("{a}", str(a))

    found = []
    for number in range(count):
        n, a = draw.randint(2, 9), draw.randint(2, 9)
        answer, reference = FORMS[number % len(FORMS)]
        found.append((rf"\boxed{{{filled(answer, n, a)}}}", filled(reference, n, draw.choice((a, a, a + 1)))))
    return found


@contextmanager
def busy_machine() -> Iterator[None]:
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("grader", "count"), [("strict", 2_000), ("math-verify", 120)])
def test_verdicts_are_the_same_beside_busy_processes(grader: str, count: int) -> None:
    wanted = pairs(count)
    with GraderPool(2, 1.0, grader) as idle:
        expected = idle.grade_many(wanted)
    with busy_machine(), GraderPool(2, 1.0, grader) as busy:
        assert busy.grade_many(wanted) == expected
    assert {grade.status for grade in expected} >= {"correct", "wrong"}


def test_asyncio_and_threads_share_a_pool() -> None:
    async def graded(pool: GraderPool) -> list[list[str]]:
        parts = [pairs(60), pairs(30), pairs(12)]
        found = await asyncio.gather(*(asyncio.to_thread(pool.grade_many, part) for part in parts))
        return [[grade.status for grade in grades] for grades in found]

    with GraderPool(2, 5.0) as pool:
        first, second, third = asyncio.run(graded(pool))
    assert (first[:30], first[:12]) == (second, third)


def test_verdicts_are_the_same_one_by_one_in_any_order_and_with_two_workers() -> None:
    wanted = pairs(1_200)
    with GraderPool(1, 20.0) as alone:
        expected = [alone.grade_many([pair])[0] for pair in wanted]
    order = random.Random(1).sample(range(len(wanted)), len(wanted))
    for workers in (1, 2):
        with GraderPool(workers, 20.0) as pool:
            shuffled = pool.grade_many(wanted[number] for number in order)
        assert shuffled == [expected[number] for number in order]
