"""Text that hangs, crashes, fills the memory of or runs code in other graders: each gets an answer, soon, and no more.

Tried with gmpy2, whose long operations no signal handler interrupts, and without; see also tests/grading/test_pool.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ngrpo.grading import GraderPool, worker
from ngrpo.grading.pool import MEMORY_GIB
from tests.grading.stopwatch import Stopwatch

TIMEOUT = 0.4
SOON = 3.0
"""Processor seconds until an answer is there: two tries and the start of a process."""
TRACE = "trace_of_an_attack"
NUMBERS = [
    r"9^{9^{9^9}}", r"(10^{10})!", r"\Gamma(10^9)", r"\binom{10^6}{5\cdot10^5}", "3^{10^8}", r"(3^{20})!",
    "9!!!!!!!!!!!!",
    r"2^{2^{2^{2^{2^{2}}}}}", "10^{-10^{10}}", "1e999999999", "1.5e-99999999", "9" * 1_990, "0." + "9" * 1_990,
    "9" * 20_000, r"\frac{1}{" + "9" * 900 + "}", r"\sqrt[10^9]{2}", r"\sqrt[7]{" + "3" * 500 + "}",
    r"\log_{10^{-9}}(10^{10^7})", r"\tan(10^{10^6})", r"e^{e^{e^{e^{e}}}}", r"\pi^{\pi^{\pi^{\pi^{\pi}}}}",
    r"\gcd(10^{1000000},6^{1000000})", r"10^{1000000}\bmod 7", r"0.\overline{" + "7" * 1_900 + "}", "7" * 900 + "_{9}",
]  # fmt: skip
SUMS = [
    r"\sum_{k=1}^{10000000}\frac{1}{k^2}", r"\sum_{k=1}^{10^9}\sum_{j=1}^{10^9}\sin(kj)", r"\prod_{n=1}^{10^9}n",
    r"\int_0^{10^9}e^{x^2}\sin(x^3)dx", r"\int\int\int\frac{\sin x\cos y\tan z}{\sqrt{x^7+y^5+z^3+1}}dxdydz",
    r"\lim_{x\to0}\frac{\sin(\sin(\sin(\sin x)))}{x^{x^x}}", r"\sum_{n=0}^{\infty}\frac{(-1)^n(6n)!}{(3n)!(n!)^3}",
    "+".join(rf"\sin({i}x)\cos({i}y)" for i in range(39)), "+".join(rf"\sqrt{{{i}}}" for i in range(2, 160)),
]  # fmt: skip
ALGEBRA = [
    "(x+y+z)^{60}", "(a+b+c+d+e+f+g+h)^{99}", r"((x+1)^{100}+1)^{100}", "x" * 1_900, "+".join("abcdefgh" * 100),
    r"\begin{vmatrix}" + r"\\".join("&".join(f"a_{{{i}{j}}}" for j in range(9)) for i in range(9)) + r"\end{vmatrix}",
    r"\begin{pmatrix}" + r"\\".join("&".join("1" * 20) for _ in range(40)) + r"\end{pmatrix}",
    ",".join(rf"\sin(x+{i})" for i in range(60)), "(1," * 40 + "1" + ")" * 40,
    r"\{" + ",".join(map(str, range(400))) + r"\}",
    r"\bigcup".join(f"({i},{i + 1})" for i in range(150)), "=".join(f"x^{{{i}}}+1" for i in range(150)),
    r"x\in" * 300 + "R", "<".join(f"x_{i}" for i in range(200)), r"\pm".join("12345" * 30),
]  # fmt: skip
NESTING = [
    r"\frac{1}{" * 200 + "1" + "}" * 200, r"\frac{1}{" * 2_000 + "1" + "}" * 2_000, "(" * 1_000 + "1" + ")" * 1_000,
    r"\sqrt{" * 300 + "2" + "}" * 300, "2^" * 900 + "2", "-" * 1_900 + "1", r"\sqrt" * 390 + "2", r"\left(" * 300,
    r"\text{" * 300 + "a" + "}" * 300, "|" * 1_900, "[" * 45 + "(" * 45, r"\begin{matrix}" * 100, "x_{" * 600,
    r"\sin" * 480 + "x", "1:" * 900 + "1", "%" * 1_900, "!" * 1_900, r"\circ^" * 380,
]  # fmt: skip
TEXTS = [
    "a\x00b", "x\ud800", "\ufeff5\u202e", "٣", "½" * 900, "１" * 1_900, "\\" * 1_999, "$" * 1_999, "&" * 1_000,
    "{" * 1_999, "}" * 1_999, r"\boxed{" * 250, "\f\b\v\a" * 400, "<sup>" * 380, "\n" * 1_900 + "5", "~" * 1_999,
]  # fmt: skip
CODE = [
    f"__import__('os').system('touch {TRACE}')", rf"\text{{__import__('os').system('touch {TRACE}')}}",
    f"open('{TRACE}','w').write('x')", rf"\mathrm{{exec}}(\text{{open('{TRACE}','w')}})",
    "exec(chr(111)+chr(115))", r"\input{/etc/passwd}", r"\write18{touch trace_of_an_attack}", "().__class__.__mro__[1]",
    f"(lambda:open('{TRACE}','w'))()", f"eval(\"open('{TRACE}','w')\")", "{{7*7}}", "${7*7}",
    "; touch trace_of_an_attack",
    f"Symbol('x',open('{TRACE}','w'))", f"'.__class__(open('{TRACE}','w'))+'", "@import url(http://127.0.0.1:9/)",
    r"\href{http://127.0.0.1:9/}{5}", "yield 5", "await x", "raise SystemExit", "import os; os._exit(1)",
]  # fmt: skip
COMPLETIONS = [
    r"\boxed{" * 150_000, "$" * 1_000_000, r"\[" * 500_000, "7" * 1_000_000, r"\boxed{" + "{" * 999_000,
    "The answer is " * 70_000, r"\boxed{1}" * 110_000, "\x00" * 1_000_000,
]  # fmt: skip
# Kinds that the lists above do not hold: floods of what extraction and the rules of structure look for.
STRUCTURES = [
    r"x_{a^{b_{" * 150 + "1" + "}}}" * 150, "x^{1}_{2}" * 190, "_^" * 900 + "1", r"5\pmod{" + "9" * 1_800 + "}",
    r"x\equiv3\pmod{10^{10^{10}}}", ",".join(rf"{i}\pmod{{{i + 7}}}" for i in range(130)),
    r"\{" + ",".join(f"[{i},{i + 1}]" for i in range(180)) + r"\}", r"\{(1,2)," * 150 + r"\}" * 150,
    r"\begin{cases}x&x>0\\" * 45 + "0" + r"\end{cases}" * 45,
    r"\begin{cases}" + r"\\".join(f"{i}&x>{i}" for i in range(150)) + r"\end{cases}",
    r"\pm".join("12345678901234567890123456789012")[:64] + "x", r"1\pm\sqrt{2\pm" * 30 + "3" + "}" * 30,
    r"\{" + ",".join(rf"{i}\pm\sqrt{{{i}}}" for i in range(90)) + r"\}", r"\mp" * 600 + "1", "([" * 400 + "])" * 400,
    "([{" * 16 + "1" + "}])" * 16, ")(" * 900, "][" * 900,
    r"99\begin{pmatrix}" + r"\\".join("&".join("12" * 9) for _ in range(45)) + r"\end{pmatrix}",
    r"\frac{1}{7}\begin{bmatrix}" + "&".join(f"x^{{{i}}}" for i in range(160)) + r"\end{bmatrix}",
    r"\begin{pmatrix}" * 40 + "1" + r"\end{pmatrix}" * 40, "x_1=" * 450 + "1",
    ";".join(f"x={i},y={i}" for i in range(170)),
    "<".join("x" * 600), r"\le".join(["x"] * 450), r"(-\infty," + r"1)\cup(1," * 180 + r"\infty)",
]  # fmt: skip
FLOODS = [
    r"\$" + r"1{,}000\$" * 190, "€" * 1_900 + "5", "5 " + "cm " * 600, r"5\text{ km}" * 170, r"5\ \mathrm{m/s^2}" * 100,
    "12:" * 600 + "30", "12:30 p.m. " * 170, "1010_2" * 300, "F" * 1_800 + "_{16}",
    r"1_{2_{3_{4_{" * 90 + "5" + "}}}}" * 90,
    r"0.\overline{1}" * 130, r"0.\overline{" * 140 + "3" + "}" * 140, "0.(3)" * 380, r"0.3\ldots" * 200,
    "1," * 900, "1,000" * 380, " and " * 380, "1 and " * 300 + "2", "x<" * 500 + "1", "a" * 1_990, "ab " * 650,
    "supercalifragilistic" * 95, r"\text{" * 330, r"\text{a}" * 280, r"\text{" + "a " * 950 + "}", "数" * 1_900,
    "答案是五" * 480, "5" + "\u0301" * 1_900, "\u200b" * 1_900 + "5", "\u202e5\u202d" * 600, "𝟓" * 900, "ﬁ" * 900,
    "²" * 1_900, "√" * 1_900 + "2", "\u2212" * 1_900 + "5", "K" * 1_900, "İ" * 1_900, "%" + r"\%" * 900, "°" * 1_900,
    "'" * 1_900, '"' * 1_900, "“" * 950 + "”" * 950, "**" * 950, r"\sqrt[" * 300 + "2" + "]" * 300, "1 1/2 " * 310,
    "the answer is the answer is " * 70, "so it is " * 200 + "5", "for all x " * 190, r"x\in\mathbb{R}," * 110,
    r"f(" * 700 + "x" + ")" * 700, "f(x)=" * 370 + "1", "e" * 900 + "1", "1e5e5e5" * 250, "0x" + "f" * 1_900,
    r"\operatorname{" * 140 + "a" + "}" * 140, r"\phantom{-}" * 170 + "1", r"\color{red}" * 170 + "1", "1/" * 900 + "1",
    r"\left." * 370 + "1", r"\\" * 950, r"1\\" * 600, "|x|" * 600, r"\lfloor" * 270 + "1" + r"\rfloor" * 1,
    r"\binom{" * 150 + "5" + "}{2}" * 150, r"\log_" * 370 + "2", "2^{-" * 300 + "1" + "}" * 300, r"5\cdot" * 370 + "1",
]  # fmt: skip
MARKED = [
    "The answer is " + "(" * 400 + "5" + ")" * 400, "Answer: " + "[" * 900 + "5", "<answer>" * 100_000,
    "<answer>5</answer>" * 50_000, "#### " * 200_000, "#### 5\n" * 100_000, "answer is" * 100_000, "**" * 500_000,
    "**Final answer:** " * 50_000 + "5", '"' * 1_000_000, "'" * 1_000_000, "“" * 300_000, "final answer is $" * 60_000,
    r"answer: \(" * 100_000, "Answer: " + "1," * 200_000, "#### " + "1" * 900_000, "\n" * 1_000_000 + "#### 5",
    "答案：" * 300_000, r"\boxed{\text{" * 70_000, r"\boxed" * 150_000, r"\boxed " * 140_000, r"\fbox{\boxed{" * 70_000,
    r"\boxed{}" * 120_000, r"\boxed{\{" * 100_000, "answer is İ" * 90_000, "</think>" * 120_000,
    r"\boxed{5" * 130_000 + "}",
]  # fmt: skip
COMPLETIONS += MARKED
ANSWERS = [*NUMBERS, *SUMS, *ALGEBRA, *NESTING, *TEXTS, *CODE, *STRUCTURES, *FLOODS]
PLAIN = {"MPMATH_NOGMPY": "1", "SYMPY_GROUND_TYPES": "python"}


def boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


@pytest.fixture(params=["gmpy2", "python"])
def _arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The grading processes' arithmetic; they and this process stand in an empty folder."""
    if request.param == "gmpy2":
        assert importlib.util.find_spec("gmpy2"), "gmpy2 belongs to the development dependencies"
    elif "math-verify" in request.node.name:
        pytest.skip("math-verify is not ours: once is enough")
    else:
        real = worker._environment
        monkeypatch.setattr(worker, "_environment", lambda: real() | PLAIN)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pool(grader: str) -> Iterator[GraderPool]:
    pool = GraderPool(timeout_seconds=TIMEOUT, grader=grader)
    with pool:
        pool.grade_many([(boxed(r"\int_0^1 x dx"), r"\frac{1}{2}+0x")])  # sympy is loaded
        yield pool
        process = pool._workers[0]._process
    assert process is None or not _group_exists(process.pid)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


NOTHING_EVALUATES = r"""
import builtins, json, sys
import mpmath, sympy
import sympy.parsing.sympy_parser, sympy.core.sympify
from ngrpo.grading.strict.equivalence import settled
from ngrpo.grading.extract import extract_answer
from ngrpo.grading.ngrpo_reference import reference_answer, reference_grade
from ngrpo.grading.unreachable import reference_fault

def refuse(*_, **__):
    raise SystemExit("text was evaluated")

for module, name in [
    (builtins, "eval"), (builtins, "exec"), (builtins, "compile"), (sympy, "sympify"),
    (sympy, "S"), (sympy, "parse_expr"), (sympy.parsing.sympy_parser, "parse_expr"), (sympy.core.sympify, "sympify"),
]:
    setattr(module, name, refuse)
for answer in json.load(sys.stdin):
    for reference in ("x^2+42", "3", answer + " "):
        settled(answer, reference)
        settled(reference, answer)
        reference_grade(reference_answer(answer) or "", reference)
        reference_fault(answer)
        extract_answer(answer)
print("done")
"""


def test_no_text_is_evaluated_whatever_it_is() -> None:
    texts = [*CODE, *TEXTS, *NUMBERS, "2x+2", r"\frac{1}{2}", "(1,2)", r"\sin x"]
    command = [sys.executable, "-c", NOTHING_EVALUATES]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, timeout=600, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_there_are_enough() -> None:
    assert len(set(ANSWERS + COMPLETIONS)) == len(ANSWERS + COMPLETIONS) >= 230


@pytest.mark.usefixtures("_arithmetic")
@pytest.mark.parametrize("grader", ["strict", "math-verify", "reference"])
def test_every_attack_is_answered_soon_and_does_nothing(pool: GraderPool, grader: str, tmp_path: Path) -> None:
    completions = [*map(boxed, ANSWERS), *COMPLETIONS]
    accepted = []
    for completion in completions:
        watch = Stopwatch(pool)
        (grade,) = pool.grade_many([(completion, "x^2+42")])
        watch.check(SOON, TIMEOUT, completion[:60])
        if grade.status == "correct":
            accepted.append(completion[:60])
        assert len(grade.answer or "") <= 2_000
    assert accepted == []
    assert pool.grade_many([(boxed("42+xx"), "x^2+42")])[0].status == "correct"
    assert list(tmp_path.iterdir()) == []
    # The largest of all processes that this one has waited for, in KiB.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MEMORY_GIB * 2**20


@pytest.mark.usefixtures("_arithmetic")
@pytest.mark.parametrize("grader", ["strict"])
def test_an_attack_as_the_reference_leaves_the_answer_ungraded_or_wrong(pool: GraderPool, grader: str) -> None:
    for attack in ANSWERS:
        watch = Stopwatch(pool)
        (grade,) = pool.grade_many([(boxed("x^2+43"), attack)])
        assert grade.status in ("wrong", "ungraded"), attack
        watch.check(SOON, TIMEOUT, attack)
