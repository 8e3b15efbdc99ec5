from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.grading.ngrpo_reference import reference_answer, reference_grade
from ngrpo.grading.strict.equivalence import MAX_ANSWER_CHARACTERS, MAX_NESTING, settled
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.identity import trees_equal
from ngrpo.types import Grade


@pytest.mark.parametrize(
    ("answer", "reference", "rule"),
    [
        ("5", "5", "text"),
        (r"\text{Evelyn}", r"\text{Evelyn}", "text"),
        ("0.5", r"\frac{1}{2}", "number"),
        (r"\frac{1}{15}", r"6.67\%", "rounded"),
        ("x+1", "1+x", "expression"),
        ("1,2", "2,1", "list"),
        ("(1,1/2)", "(1,0.5)", "tuple"),
        ("x>2", r"(2,\infty)", "interval"),
        ("x=5", "5", "equation"),
        ("f(t)=t", "f(x)=x", "function"),
        ("5 cm", "5", "unit"),
        (r"30^\circ", r"\pi/6", "degrees"),
        ("2:4", "1:2", "ratio"),
        ("10_2", "10", "base"),
    ],
)
def test_the_verdict_names_its_rule(answer: str, reference: str, rule: str) -> None:
    assert settled(answer, reference) == Grade("correct", 1.0, reason=rule)


@pytest.mark.parametrize(
    ("answer", "reference"), [(r"\int_0^1 x dx", r"\int_0^1 y dy"), ("1", r"\lim_{x\to0}\frac{\sin x}{x}")]
)
def test_the_rest_is_left_to_sympy(answer: str, reference: str) -> None:
    assert settled(answer, reference) is None


def test_a_long_answer_is_wrong_but_a_long_reference_is_not_its_fault() -> None:
    long, deep = "x+" * MAX_ANSWER_CHARACTERS + "1", "(" * 60 + "1" + ")" * 60
    for beyond, limit in ((long, f"over {MAX_ANSWER_CHARACTERS} characters"), (deep, f"over {MAX_NESTING} brackets")):
        answer, reference = settled(beyond, "1"), settled("1", beyond)
        assert answer is not None
        assert answer.status == "wrong"
        assert limit in answer.reason
        assert reference is not None
        assert reference.status == "ungraded"
        assert reference.reason.startswith("limit")
        assert settled(beyond, beyond) == Grade("correct", 1.0, reason="text")


def test_a_number_that_is_too_large_is_the_fault_of_whoever_wrote_it() -> None:
    assert settled("9^{9^{9^9}}", "5") == Grade("wrong", 0.0, reason="limit: a number is too large")
    assert settled("5", "9^{9^{9^9}}") == Grade("ungraded", 0.0, reason="limit: a number of the reference is too large")


@pytest.mark.parametrize(
    "answer",
    [
        r"\binom{14000}{7000}",
        r"\sqrt{" * 45 + "x" + "}" * 45,
        "+".join(rf"\sqrt{{{i}x+{i}}}" for i in range(100)),
        ",".join(rf"\sin(x+{i})" for i in range(60)),
        "(1," * 40 + "1" + ")" * 40,
        "14000!+x",
        r"e^{100000}+1",
        "((x+1)^{100}+1)^{100}",
        r"\tan(\tan(\tan(\tan x)))",
        "9" * 1999 + "/7",
        "1e4999",
    ],
)
def test_no_pair_takes_long(answer: str) -> None:
    started = time.process_time()
    settled(answer, answer.replace("1", "2", 1) + "+0")
    settled(answer, ",".join(reversed(answer.split(","))) + " ")
    assert time.process_time() - started < 4


def test_nothing_equals_an_empty_reference() -> None:
    assert settled("", " ") == Grade("ungraded", 0.0, reason="the reference is empty")
    assert settled("$$", "5") == Grade("wrong", 0.0, reason="the answer is empty")


LATEX = st.text(r"\frac{}12 $.!,()[]=+-^_<>|:%'x" + "πinftycupabk", max_size=30)
TOKENS = r"""\frac \sqrt { } ( ) [ ] \{ \} 1 2 0 .5 x k \pi \pm , = < \le \cup \infty \in \ne ^ _ ! % ^\circ - + / :
    \sin \ln \text{ and or \begin{pmatrix} \end{pmatrix} \\ & | \binom e i for_some \approx 10^{99} \setminus f(x) '
    \overline \lfloor \rfloor the is \%""".split()  # noqa: SIM905
PIECES = st.lists(st.sampled_from([" ", *TOKENS]), max_size=14).map(
    lambda pieces: "".join(pieces).replace("for_some", " for some ")
)


@given(st.text(max_size=30) | LATEX | PIECES, LATEX | PIECES)
def test_no_text_raises_and_no_error_is_hidden(answer: str, reference: str) -> None:
    verdict = settled(answer, reference)
    assert verdict is None or not verdict.reason.startswith("error")
    reference_grade(reference_answer(answer) or "", reference)


@given(LATEX | PIECES)
def test_everything_equals_itself(text: str) -> None:
    verdict = settled(text, text)
    assert verdict is not None
    assert verdict.status == ("correct" if text.strip() else "ungraded")


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "2", "3", r"\pi", "0.5"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: rf"\frac{{{two[0]}}}{{{two[1]}}}"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}-{two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"{two[0]} \\cdot {two[1]}"),
        inner.map(lambda one: rf"\sqrt{{{one}}}"),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, EXPRESSIONS)
def test_the_equality_of_expressions_is_symmetric(one: str, other: str) -> None:
    left, right = parse(one), parse(other)
    assert left is not None
    assert right is not None
    assert trees_equal(left, right) == trees_equal(right, left)


@given(EXPRESSIONS)
def test_an_expression_equals_it_rewritten_but_not_it_plus_very_little(text: str) -> None:
    tree, rewritten, more = parse(text), parse(f"({text})+1-1"), parse(f"{text}+10^{{-40}}")
    assert tree is not None
    assert rewritten is not None
    assert more is not None
    equal = trees_equal(tree, rewritten)
    assert equal is not False
    assert trees_equal(tree, more) is (False if equal else None)


@pytest.mark.parametrize(
    ("completion", "reference", "status"),
    [
        (r"\boxed{1}", "100", "correct"),
        ("it is 72.005", "72", "correct"),
        (r"\boxed{\frac1{23}}", r"\frac{12}3", "correct"),
        (r"\boxed{[1,2]}", "(1,2)", "correct"),
        (r"\boxed{336}", r"336^\circ", "correct"),
        (r"\boxed{x=5}", "5", "correct"),
        ("The answer is 3/4.", r"\frac34", "correct"),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", "correct"),
        (r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}", r"\begin{pmatrix}1\\2\end{pmatrix}", "correct"),
        (r"\boxed{7}", "8", "wrong"),
    ],
)
def test_the_reference_graders_rules(completion: str, reference: str, status: str) -> None:
    answer = reference_answer(completion)
    assert answer is not None
    assert reference_grade(answer, reference).status == status


NO_EVALUATION = r"""
import builtins
from ngrpo.grading.sympy_grader import prepare_math_verify, symbolically_equal
prepare_math_verify()
def refuse(*_, **__): raise SystemExit("text was evaluated")
builtins.eval = refuse
import sympy.parsing.sympy_parser as parser
parser.eval = refuse
from ngrpo.grading import GraderPool
for grader in ("strict", "reference"):
    with GraderPool(grader=grader) as pool:
        pairs = [(r"\boxed{__import__('os').abort()}", "3"), (r"\boxed{2x+2}", "2(x+1)"), (r"\boxed{exit()}", "x")]
        pool.grade_many(pairs)
assert symbolically_equal(r"\frac12", r"\int_0^1 x dx", "strict")
assert symbolically_equal("2x+2", "2(x+1)")
assert symbolically_equal(r"\frac{2}{4}+0.5", "1")
assert symbolically_equal(r"\{1,2\}", r"\{2,1\}")
assert not symbolically_equal("x+1", "x+2")
for text in ["__import__('os').abort()", r"\text{exit()}", r"\operatorname{exit}(3)", "lambda: 3", "[].append(1)"]:
    assert not symbolically_equal(text, "3")
for text in ["exit()", "1+1", "x", "__import__('os').abort()", "1e400", "."]:
    try:
        sympy = __import__("sympy")
        sympy.sympify(text)
    except sympy.SympifyError:
        continue
    raise SystemExit(f"sympify took {text}")
print("done")
"""


def test_text_is_never_evaluated() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_EVALUATION], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
