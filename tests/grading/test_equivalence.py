from __future__ import annotations

import subprocess
import sys

import pytest

from ngrpo.grading.equivalence import MAX_ANSWER_CHARACTERS, Verdict, settled_cheaply


@pytest.mark.parametrize(
    ("answer", "reference", "rule"),
    [
        ("5", "5", "text"),
        (r"\dfrac{1}{2}", r"\frac12", "text"),
        (r"\text{Evelyn}", r"\text{Evelyn}", "text"),
        ("0.5", r"\frac{1}{2}", "number"),
        ("1234", "1,234", "number"),
        ("336", r"336^\circ", "number"),
        ("5.0", "5", "number"),
        (r"\$32,\!348", "32348", "number"),
    ],
)
def test_equal_answers_that_need_no_sympy(answer: str, reference: str, rule: str) -> None:
    assert settled_cheaply(answer, reference) == Verdict("correct", rule)


@pytest.mark.parametrize(
    ("answer", "reference"), [("99.9999999", "100"), ("1", "100"), ("0.0000002", "0.0000001"), ("2.5000001", "2.5")]
)
def test_different_numbers_are_wrong_however_close(answer: str, reference: str) -> None:
    assert settled_cheaply(answer, reference) == Verdict("wrong", "number")


@pytest.mark.parametrize(("answer", "reference"), [("x+1", "1+x"), (r"5\%", "5"), ("(1,2)", "(2,1)"), ("1,2", "2,1")])
def test_the_rest_is_left_to_math_verify(answer: str, reference: str) -> None:
    assert settled_cheaply(answer, reference) is None


def test_a_long_answer_is_wrong_but_a_long_reference_is_not_its_fault() -> None:
    long = "x+" * MAX_ANSWER_CHARACTERS + "1"
    answer, reference = settled_cheaply(long, "1"), settled_cheaply("1", long)
    assert answer is not None
    assert (answer.status, answer.reason) == ("wrong", f"over {MAX_ANSWER_CHARACTERS} characters")
    assert reference is not None
    assert reference.status == "ungraded"
    assert reference.reason.startswith("limit")
    assert settled_cheaply(long, long) == Verdict("correct", "text")


def test_nothing_equals_an_empty_reference() -> None:
    assert settled_cheaply("", " ") == Verdict("ungraded", "the reference is empty")


NO_EVALUATION = r"""
import builtins
from ngrpo.grading.equivalence import prepare_math_verify, symbolically_equal
prepare_math_verify()
def refuse(*_, **__): raise SystemExit("text was evaluated")
builtins.eval = refuse
import sympy.parsing.sympy_parser as parser
parser.eval = refuse
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
