"""References that no completion could reach are found before training."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.errors import DataError
from ngrpo.grading import fault_of
from ngrpo.grading.unreachable import reference_fault
from ngrpo.tasks import load_task
from tests.shared import SHARED

DATA = SHARED / "data"


@pytest.mark.parametrize(
    "reference",
    [
        "5",
        r"336^\circ",
        r"\frac12",
        "x=5",
        "(1,2)",
        "[0,1)",
        r"\text{yes}",
        "A",
        "5 cm",
        r"\infty",
        "f(x)=2x",
        "DNE",
        r"\begin{pmatrix}1\\2\end{pmatrix}",
        r"\int_0^1 x dx",
        "3-2f(x)",
        "0.0011_{2}",
        "f(2)<f(1)<f(4)",
        "05:00",
        r"k\pi, k\in\mathbb{Z}",
        "Petya wins.",
        r"-80\leq g(x)\leq 82",
        r"\overline{CD}",
        "2:3",
        r"3\pm\sqrt2",
        "n!",
        r"\gcd(12,18)",
        r"\max(a,b)",
        r"2^{10}\bmod 7",
    ],
)
def test_what_can_be_reached(reference: str) -> None:
    assert reference_fault(reference) is None


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("", "the reference is empty"),
        ("$$", "it is empty after normalization"),
        (r"\frac{1}{2", "braces do not match"),
        ("1}{2", "braces do not match"),
        ("((3", "operators or brackets do not match"),
        ("2+*3", "operators or brackets do not match"),
        ("x=", "operators or brackets do not match"),
        ("@@@", "it is empty after normalization"),
        ("1/0", "no value"),
        (r"\log_1 5", "no value"),
        ("9^{9^{9^9}}", "too large"),
        ("x+" * 2000 + "1", "over 2000 characters"),
        ("(" * 60 + "1" + ")" * 60, "nests over 50"),
    ],
)
def test_what_cannot(reference: str, fault: str) -> None:
    assert fault in (reference_fault(reference) or "")


@given(st.text(max_size=40) | st.text(r"\frac{}12 $.!,()[]=+-^_<>|:%'x", max_size=20))
def test_any_text_has_a_verdict(text: str) -> None:
    fault = reference_fault(text)
    assert fault is None or fault


def test_each_policy_has_its_own_faults() -> None:
    assert fault_of("2+*3", "exact") is None
    assert fault_of("7", "choice") == "a choice is one letter, such as B or (B)"
    assert fault_of(" ", "my_module:grade") == "the reference is empty"


@pytest.mark.parametrize("kind", ["file", "math", "aime2025"])
def test_a_task_names_the_row_or_lists_and_leaves_it_out(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('question,answer\none?,1\nhalf?,"\\frac{1}{2"\nthree?,3\n')
    with pytest.raises(DataError, match=r"rows.csv, row 2: 'answer': no completion can reach the reference .*braces"):
        load_task({"name": f"{kind}:{path}"}).problems("test")
    task = load_task({"name": f"{kind}:{path}", "unreadable_references": "leave_out"})
    assert [problem.reference for problem in task.problems("test")] == ["1", "3"]
    assert "left out: " in caplog.text
    assert "row 2" in caplog.text


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not on this machine")
@pytest.mark.parametrize(("name", "count"), [("math_test", 5000), ("amc23", 40), ("aime2025", 30)])
def test_no_reference_of_the_benchmarks_is_refused(name: str, count: int) -> None:
    problems = load_task({"name": f"file:{DATA / name}.parquet"}).problems("test")
    assert len(problems) == count
