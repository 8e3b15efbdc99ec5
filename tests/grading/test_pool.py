from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import GradingError
from ngrpo.grading import GraderPool, grade, worker
from ngrpo.grading.pool import MEMORY_GIB, shared_pool
from tests.busy import slowdown
from tests.grading.stopwatch import Stopwatch

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    # math-verify's grader: every pair of it that is not literally equal needs the process.
    with GraderPool(timeout_seconds=10.0, grader="math-verify") as pool:
        yield pool


def boxed(answer: str) -> str:
    return rf"I think it is $\boxed{{{answer}}}$."


def statuses(pool: GraderPool, pairs: list[tuple[str, str]]) -> list[str]:
    return [grade.status for grade in pool.grade_many(pairs)]


def process_of(pool: GraderPool) -> int:
    process = pool._workers[0]._process
    assert process is not None
    return process.pid


def fork_of(pool: GraderPool) -> int:
    children = Path(f"/proc/{process_of(pool)}/task/{process_of(pool)}/children")
    while not (forks := children.read_text().split()):
        time.sleep(0.01)
    return int(forks[0])


def exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 60
    while exists(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not exists(group)


def test_each_status_and_the_order(pool: GraderPool) -> None:
    pairs = [
        (boxed("x+1"), "1+x"),
        (boxed("x+2"), "1+x"),
        ("no box at all", "1+x"),
        (boxed("7"), "7"),
        (boxed("8"), "7"),
        (boxed("x+1"), "1+x"),
    ]
    grades = pool.grade_many(pairs)
    assert [grade.status for grade in grades] == ["correct", "wrong", "no_answer", "correct", "wrong", "correct"]
    assert [grade.reward for grade in grades] == [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert [grade.answer for grade in grades] == ["x+1", "x+2", None, "7", "8", "x+1"]
    assert [grade.reason for grade in grades] == [
        "math-verify",
        "math-verify",
        "no answer is declared",
        "text",
        "math-verify",
        "math-verify",
    ]
    assert pool.grade_many([]) == []


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
        ("x=5", "5"),
        ("x^2+2x+1", "(x+1)^2"),
        (r"\{2,1\}", r"\{1,2\}"),
        (r"50\%", "0.5"),
        (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("2<x", "x>2"),
        (r"\text{(C)}", "C"),
        ("10", r"\binom{5}{2}"),
    ],
)
def test_answers_that_need_algebra_are_accepted(pool: GraderPool, answer: str, reference: str) -> None:
    assert statuses(pool, [(boxed(answer), reference)]) == ["correct"]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("(2,1)", "(1,2)"), ("[1,2)", "(1,2]"), ("(x+1)^3", "(x+1)^2"), ("y=5", "x=5"), (r"\frac32", r"3\frac{1}{2}")],
)
def test_near_misses_are_rejected(pool: GraderPool, answer: str, reference: str) -> None:
    assert statuses(pool, [(boxed(answer), reference)]) == ["wrong"]


def test_pairs_settled_cheaply_start_no_process() -> None:
    pool = GraderPool()
    assert statuses(pool, [(boxed("x+1"), "x+1"), (boxed("3"), "4"), ("?", "4")]) == ["correct", "wrong", "no_answer"]
    assert pool._workers[0]._process is None


def test_a_pair_is_compared_once(pool: GraderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    real = worker.Worker.grade

    def counted(self: worker.Worker, requests: list[Any], stopped: threading.Event) -> list[worker.Outcome]:
        asked.extend(requests)
        return real(self, requests, stopped)

    monkeypatch.setattr(worker.Worker, "grade", counted)
    pairs = [(boxed("x+5"), "5+x"), ("so " + boxed("x+5"), "5+x"), (boxed("5+x"), "x+5")]
    assert statuses(pool, pairs) == statuses(pool, pairs) == ["correct"] * 3
    assert asked == [("x+5", "5+x"), ("5+x", "x+5")]


ATTACKS = [
    r"9^{9^{9^9}}",
    r"(10^{10})!",
    r"\Gamma(10^9)",
    r"\binom{10^6}{5\cdot10^5}",
    r"3^{10^8}",
    r"\sum_{k=1}^{10000000}\frac{1}{k^2}",
    r"\prod_{n=1}^{10^9} n",
    "+".join(rf"\sin({i}x)\cos({i}y)" for i in range(39)),
    r"(x+y+z)^{60}",
    "(" * 45 + "1" + ")" * 45,
]


def test_an_answer_that_would_hang_is_ungraded_in_bounded_time() -> None:
    with GraderPool(timeout_seconds=0.3, grader="math-verify") as pool:
        statuses(pool, [(boxed("x+1"), "1+x")])  # the start of the process is not what is timed
        before = process_of(pool)
        for number, attack in enumerate(ATTACKS):
            pool.grade_many([(boxed(f"x+{number}"), f"{number}+x")])  # nor a new start, should one be due
            spent = Stopwatch(pool)
            (grade,) = pool.grade_many([(boxed(attack), "x+42")])
            spent.check(2 * 0.3 + 1, 0.3, attack)  # two tries on a busy machine
            assert (grade.status, grade.reward, grade.reason) in [
                ("ungraded", 0.0, "timeout"),
                ("wrong", 0.0, "math-verify"),
            ]
        (grade,) = pool.grade_many([(boxed(ATTACKS[1]), "x+41")])
        assert grade.status == "ungraded"
        assert process_of(pool) == before or not exists(before)
        assert statuses(pool, [(boxed("x+2"), "2+x")]) == ["correct"]
        last = process_of(pool)
    wait_until_gone(last)


def test_hostile_text_has_a_plain_verdict_and_no_effect(pool: GraderPool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = [
        f"__import__('os').system('touch {trace}')",
        rf"\text{{__import__('os').system('touch {trace}')}}",
        f"open('{trace}','w').write('x')",
        rf"\mathrm{{exec}}(\text{{open('{trace}','w')}})",
    ]
    texts = [
        *map(boxed, calls),
        boxed("exec(chr(112)+chr(114))"),
        boxed(r"\input{/etc/passwd}"),
        boxed("a\x00b"),
        boxed("x\ud800"),
        boxed("9" * 1999),
        boxed("9" * 20_000),
        boxed(r"\frac{1}{" * 200 + "1" + "}" * 200),
        boxed(r"\$" * 500),
        boxed("&" * 1000),
        r"\boxed{" * 100_000,
        "$" * 1_000_000,
    ]
    grades = pool.grade_many([(text, "x+42") for text in texts])
    assert {grade.status for grade in grades[:-2]} == {"wrong"}, [grade.reason for grade in grades]
    assert [grade.status for grade in grades[-2:]] == ["no_answer", "no_answer"]
    assert all(len(grade.answer or "") <= 2000 for grade in grades)
    assert not trace.exists()


def test_a_process_killed_from_outside_costs_no_verdict(pool: GraderPool) -> None:
    assert statuses(pool, [(boxed("x+10"), "10+x")]) == ["correct"]
    os.killpg(process_of(pool), signal.SIGKILL)
    assert statuses(pool, [(boxed("x+11"), "11+x"), (boxed("x+12"), "11+x")]) == ["correct", "wrong"]


@needs_proc
def test_a_fork_killed_while_idle_costs_no_verdict(pool: GraderPool) -> None:
    assert statuses(pool, [(boxed("x+20"), "20+x")]) == ["correct"]
    before = process_of(pool)
    os.kill(fork_of(pool), signal.SIGKILL)
    pairs = [(boxed(f"x+{n}"), f"{n % 2}+{n - n % 2 + (n % 3 == 0)}+x") for n in range(30, 42)]
    expected = ["wrong" if n % 3 == 0 else "correct" for n in range(30, 42)]
    assert statuses(pool, pairs) == expected
    assert process_of(pool) == before


@needs_proc
def test_a_fork_that_dies_again_and_again_is_a_crash(pool: GraderPool) -> None:
    statuses(pool, [(boxed("x+50"), "50+x")])
    killing = threading.Event()

    def kill_every_fork() -> None:
        while not killing.wait(0.05):
            with contextlib.suppress(ProcessLookupError):
                os.kill(fork_of(pool), signal.SIGKILL)

    killer = threading.Thread(target=kill_every_fork)
    killer.start()
    try:
        (crashed,) = pool.grade_many([(boxed(r"(10^{10})!"), "x+51")])
    finally:
        killing.set()
        killer.join()
    assert (crashed.status, crashed.reward, crashed.reason) == ("ungraded", 0.0, "crash")
    assert statuses(pool, [(boxed("x+52"), "52+x")]) == ["correct"]


@needs_proc
def test_a_worker_that_neither_computes_nor_answers_is_killed() -> None:
    with GraderPool(timeout_seconds=0.2, grader="math-verify") as pool:
        statuses(pool, [(boxed("x+1"), "1+x")])
        os.kill(fork_of(pool), signal.SIGSTOP)
        started, slow = time.monotonic(), slowdown()
        assert statuses(pool, [(boxed("x+2"), "2+x")]) == ["correct"]  # tried again: it had not begun
        assert time.monotonic() - started < (0.2 + worker.START_SECONDS / 20) * max(slow, slowdown())
        assert statuses(pool, [(boxed("x+3"), "3+x")]) == ["correct"]


@needs_proc
def test_the_process_has_no_secrets_and_can_write_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with GraderPool(grader="math-verify") as pool:
        statuses(pool, [(boxed("x+1"), "1+x")])
        assert "HF_TOKEN" not in Path(f"/proc/{process_of(pool)}/environ").read_text()
        limits = Path(f"/proc/{fork_of(pool)}/limits").read_text()
    sizes = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert sizes["Max file size"] == "0"
    assert sizes["Max address space"] == str(int(MEMORY_GIB * 2**30))


def test_two_workers_and_several_threads_agree_with_one(pool: GraderPool) -> None:
    pairs = [(boxed(f"{n}x+{n}"), f"{n + n % 2}(x+1)") for n in range(1, 25)]
    expected = ["wrong" if n % 2 else "correct" for n in range(1, 25)]
    results: list[list[str]] = []
    with GraderPool(workers=2, timeout_seconds=10.0, grader="math-verify") as two:
        threads = [threading.Thread(target=lambda: results.append(statuses(two, pairs))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        processes = {worker._process.pid for worker in two._workers if worker._process}
    assert results == [expected] * 3
    assert len(processes) == 2
    assert statuses(pool, pairs) == expected


def test_alarms_of_the_program_stay_as_they_are(pool: GraderPool) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        assert statuses(pool, [(boxed("x+60"), "60+x")]) == ["correct"]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_interrupting_stops_the_process_and_the_pool_goes_on(pool: GraderPool) -> None:
    statuses(pool, [(boxed("x+70"), "70+x")])
    before = process_of(pool)

    def grade_until_interrupted() -> None:
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        pool.grade_many([(boxed(r"(10^{10})!"), "x+71")])

    with pytest.raises(KeyboardInterrupt):
        grade_until_interrupted()
    wait_until_gone(before)
    assert statuses(pool, [(boxed("x+72"), "72+x")]) == ["correct"]


def test_a_process_that_cannot_start_is_a_grading_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ngrpo.py").write_text("raise RuntimeError('a broken installation')")
    monkeypatch.setattr(worker, "_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    with (
        GraderPool(grader="math-verify") as pool,
        pytest.raises(GradingError, match="did not start: RuntimeError: a broken installation"),
    ):
        pool.grade_many([(boxed("x+1"), "1+x")])
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        GraderPool(grader="math-verify") as pool,
        pytest.raises(GradingError, match="no grading process can be started"),
    ):
        pool.grade_many([(boxed("x+1"), "1+x")])


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"grader must be one of strict, .*, got 'lax'"):
        GraderPool(grader="lax")


def test_strict_leaves_to_sympy_what_its_own_parser_cannot_read() -> None:
    with GraderPool(timeout_seconds=10.0) as pool:
        pairs = [
            (boxed(r"\int_0^1 y\,dy"), r"\int_0^1 x\,dx"),
            (boxed(r"\frac12"), r"\int_0^1 x\,dx"),
            (boxed(r"\frac13"), r"\int_0^1 x\,dx"),
            (boxed("5050"), r"\sum_{k=1}^{100} k"),
        ]
        assert statuses(pool, pairs) == ["correct", "correct", "wrong", "correct"]
        assert statuses(pool, [(boxed("3-2f(x)"), "2"), (boxed("3-2f(x)"), "-2f(x)+3")]) == ["wrong", "correct"]
        assert pool.grade_many(pairs)[0].reason == "sympy"


def test_attacks_on_strict_are_answered_at_once() -> None:
    with GraderPool(timeout_seconds=0.5) as pool:
        pool.start()
        for attack in ATTACKS:
            spent = Stopwatch(pool)
            (grade,) = pool.grade_many([(boxed(attack), "x+42")])
            spent.check(0.3, 0.5, attack)
            assert grade.status == "wrong"


@needs_proc
def test_want_of_memory_is_ungraded(monkeypatch: pytest.MonkeyPatch) -> None:
    started = ["-P", "-c"]
    code = (
        "from ngrpo.grading import server, sympy_grader\n"
        "def greedy(*_):\n    return bytearray(64 << 30)\n"
        "prepare = sympy_grader.prepare_math_verify\n"
        "def prepared():\n"
        "    prepare()\n"
        "    import math_verify.grader as grader\n"
        "    grader.sympy_expr_eq = greedy\n"
        "sympy_grader.prepare_math_verify = prepared\n"
        "server.serve()"
    )
    real = subprocess.Popen

    def changed(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        assert command[1:3] == started
        return real([*command[:3], code], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "Popen", changed)
    with GraderPool(grader="math-verify") as pool:
        (grade,) = pool.grade_many([(boxed("x+1"), "y+2")])
    assert (grade.status, grade.reason) == ("ungraded", "memory")


def test_the_shared_pool_is_one() -> None:
    assert shared_pool(1, 2.0) is shared_pool(1, 2.0)
    assert grade(boxed("0.25"), r"\frac14").status == "correct"


SCRIPT = r"""
import os, sys
from ngrpo.grading import grade, shared_pool
from functools import partial
grade = partial(grade, grader="math-verify")
assert grade(r"\boxed{x+1}", "1+x").status == "correct"
print(shared_pool(grader="math-verify")._workers[0]._process.pid, flush=True)
if sys.argv[1] == "fork":
    child = os.fork()
    assert grade(r"\boxed{x+2}", "2+x").status == "correct"  # parent and child each have their own process
    if child:
        assert os.waitpid(child, 0)[1] == 0
    assert grade(r"\boxed{x+3}", "3+x").status == "correct"
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
loaded = {"sympy", "math_verify", "torch", "transformers", "datasets"} & set(sys.modules)
assert not loaded, loaded
"""


# No guard of the main module in the script: the process must not import it again.
@pytest.mark.parametrize(("how", "status"), [("exits", 0), ("killed", -9), ("fork", 0)])
def test_no_process_is_left_however_the_program_ends(how: str, status: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, how], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == status, done.stderr
    wait_until_gone(int(done.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'sympy', 'math_verify', 'datasets', 'pyarrow'}"
    code = f"import sys, ngrpo.grading; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("answer", ["2^" * 500 + "2", "\\sqrt" * 390 + "2", "-" * 1500 + "1"])
def test_an_answer_that_nests_too_deep_is_wrong_and_not_ungraded(answer: str) -> None:
    with GraderPool() as pool:
        assert pool.grade_many([(f"\\boxed{{{answer}}}", "5")])[0].status == "wrong"
