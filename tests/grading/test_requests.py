"""Completions and references as users have them: read as text, or that item alone is ungraded."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ngrpo.errors import ConfigError
from ngrpo.grading import GraderPool
from ngrpo.grading.requests import completion_text, plain_metadata, read_metadata, read_pairs, reference_text
from ngrpo.types import Grade

CHAT = [
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": r"\boxed{3}, no:"},
    {"role": "assistant", "content": [{"type": "text", "text": r"\boxed"}, {"type": "image"}, {"text": "{4}"}]},
    {"role": "tool", "content": r"\boxed{5}"},
]
FAULTY: list[tuple[Any, str]] = [
    ((None, "7"), "the completion is NoneType, not text"),
    ((0.5, "7"), "the completion is float, not text"),
    ((b"7", "7"), "the completion is bytes, not text"),
    (({"role": "assistant", "content": "7"}, "7"), "the completion is dict, not text"),
    (([], "7"), "the completion is an empty list, not text or chat messages"),
    ((["7", "8"], "7"), "the completion is a list, but not of chat messages"),
    (([{"role": "assistant"}], "7"), "the completion is a list, but not of chat messages"),
    (
        ([{"role": "assistant", "content": None}], "7"),
        "the content of the completion's message is NoneType, not text",
    ),
    (([{"role": "assistant", "content": [7]}], "7"), "a part of the completion's message is int without text"),
    ((r"\boxed{7}", None), "the reference is NoneType, not text or a number"),
    ((r"\boxed{7}", True), "the reference is bool, not text or a number"),
    ((r"\boxed{7}", ["7"]), "the reference is list, not text or a number"),
    ((r"\boxed{7}", math.nan), "the reference is nan, not a finite number"),
    ((r"\boxed{7}", np.float32("inf")), "the reference is inf, not a finite number"),
    ((r"\boxed{7}", Decimal("NaN")), "the reference is NaN, not a finite number"),
    ((r"\boxed{7}", 10**5_000), "the reference is an integer of over 4,200 digits"),
    ((r"\boxed{7}", ""), "the reference is empty"),
    ((r"\boxed{7}", " \n"), "the reference is empty"),
    (("no answer", ""), "the reference is empty"),
    ((r"\boxed{7}",), "the item has 1 parts, not a completion and a reference"),
    ((r"\boxed{7}", "7", "7"), "the item has 3 parts, not a completion and a reference"),
    (r"\boxed{7}", "the item is str, not a (completion, reference) pair"),
    ("77", "the item is str, not a (completion, reference) pair"),
    (None, "the item is NoneType, not a (completion, reference) pair"),
    ({"completion": "7", "reference": "7"}, "the item is dict, not a (completion, reference) pair"),
]


@pytest.mark.parametrize("grader", ["strict", "exact"])
def test_a_faulty_item_is_ungraded_and_the_others_are_graded(grader: str) -> None:
    items = [item for item, _ in FAULTY]
    with GraderPool(grader=grader) as pool:
        grades = pool.grade_many([(r"\boxed{7}", "7"), *items, (r"\boxed{8}", "7")])
    assert [grades[0].status, grades[-1].status] == ["correct", "wrong"]
    assert grades[1:-1] == [Grade("ungraded", 0.0, None, reason) for _, reason in FAULTY]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (27, "27"), (27.0, "27"), (-0.0, "0"), (0.1, "0.1"), (np.float32(0.1), "0.1"), (np.int64(-3), "-3"),
        (np.float64(2.5), "2.5"), (np.array(4), "4"), (1e300, "1e+300"), (1e-7, "1e-07"), (Fraction(1, 3), "1/3"),
        (Decimal("2.50"), "2.50"), (np.str_("x"), "x"), ("x ", "x "),
    ],
)  # fmt: skip
def test_a_finite_number_is_a_reference(reference: Any, text: str) -> None:
    assert reference_text(reference) == text


def test_the_last_assistant_message_is_the_completion() -> None:
    assert completion_text(CHAT) == r"\boxed{4}"
    assert completion_text([{"role": "user", "content": "5"}, {"role": "tool", "content": "6"}]) == "6"
    with GraderPool() as pool:
        (grade,) = pool.grade_many([(CHAT, 4.0)])
    assert (grade.status, grade.answer) == ("correct", "4")
    with pytest.raises(ValueError, match=r"^the completion is int, not text$"):
        completion_text(5)
    with pytest.raises(ValueError, match=r"^the reference is dict, not text or a number$"):
        reference_text({})


def test_every_iterable_of_pairs_is_graded() -> None:
    completions, references = [r"\boxed{7}", r"\boxed{8}"], [7, 7]
    with GraderPool() as pool:
        expected = ["correct", "wrong"]
        for pairs in (zip(completions, references, strict=True), iter([*zip(completions, references, strict=True)]),
                      ([c, r] for c, r in zip(completions, references, strict=True)),
                      np.array([completions, ["7", "7"]], dtype=object).T):  # fmt: skip
            assert [grade.status for grade in pool.grade_many(pairs)] == expected
        for wrong in ("77", {"7": "7"}, 7, None):
            with pytest.raises(ValueError, match="pairs must be an iterable with one item per completion, got"):
                pool.grade_many(wrong)  # type: ignore[arg-type]


def judge(completion: str, reference: str, metadata: dict[str, Any]) -> float:
    return float(metadata.get("reward", 0.25)) if completion != reference else 1.0


def test_metadata_may_be_any_iterable_of_as_many_items() -> None:
    module = "tests.grading.test_requests:judge"
    tables: list[Any] = [{"reward": 0.5}, None, 7, {(1, 2): 3}, {"reward": 0.75}]
    pairs = [("a", "b"), ("a", ""), ("a", "b"), ("a", "b"), (None, "b")]
    with GraderPool(grader=module) as pool:
        grades = pool.grade_many(iter(pairs), (table for table in tables))
        assert [grade.reward for grade in grades] == [0.5, 0.25, 0.0, 0.0, 0.0]
        assert [grade.status for grade in grades] == ["wrong", "wrong", "ungraded", "ungraded", "ungraded"]
        assert grades[2].reason == "the metadata is int, not a mapping"
        assert grades[3].reason.startswith("the metadata cannot be sent: ")
        assert pool.grade_many([]) == pool.grade_many([], []) == []
    for grader in (module, "strict"):
        pool = GraderPool(grader=grader)
        with pytest.raises(ValueError, match="metadata must have one item per pair, got 1 for 2 pairs"):
            pool.grade_many([("a", "b")] * 2, iter([{}]))
        assert pool._workers[0]._process is None


def test_reading_alone() -> None:
    assert read_pairs([("a", "")], empty_references=True) == [("a", "")]
    assert read_metadata(None, 2) == [{}, {}]
    assert plain_metadata({"a": {1, 2}.__class__}) == {"a": "<class 'set'>"}


@pytest.mark.parametrize("workers", [0, -1, 2.5, 2.0, "2", True, None, math.nan])
def test_workers_are_an_integer_of_at_least_one(workers: Any) -> None:
    with pytest.raises(ConfigError, match=r"^workers must be an integer of at least 1, got "):
        GraderPool(workers)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "2", True, None, 10**400])
def test_times_rewards_and_memory_are_finite_numbers(value: Any) -> None:
    for name in ("timeout_seconds", "max_reward", "memory_gib"):
        with pytest.raises(ConfigError, match=f"^{name} must be a finite number above 0, got "):
            GraderPool(**{name: value})


def test_extreme_limits_are_allowed() -> None:
    with GraderPool(timeout_seconds=1e300, memory_gib=1e300, grader="reference") as pool:
        assert pool.grade_many([(r"\boxed{x+1}", "1+x")])[0].status in ("correct", "wrong")


@pytest.mark.parametrize("grader", ["strict", "math-verify", "reference", "exact", "choice"])
def test_a_completion_that_is_the_reference_is_correct_without_a_process(grader: str) -> None:
    texts = ["B", "Paris", "one half", r"\boxed{5}", r"x^2+\int_0^1", "5" * 3_000, "(" * 200]
    pool = GraderPool(grader=grader)
    grades = pool.grade_many([(f" {text}\n", f"{text} ") for text in texts])
    assert grades == [Grade("correct", 1.0, text[:2_000], "text") for text in texts]
    assert pool._workers[0]._process is None
