"""Reward functions for TRL and plain verl: the grader of `grader = "strict"`, ready to be passed by name.

Both share one pool of grading processes. A run of `ngrpo train` does not need them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngrpo.errors import ConfigError
from ngrpo.grading.pool import shared_pool

REFERENCE_COLUMNS = ("solution", "reference", "ground_truth", "target", "answer")
"""Columns of a data set that hold the references, the first that is there."""


def trl_reward(completions: Sequence[Any], solution: Sequence[Any] | None = None, **columns: Any) -> list[float | None]:
    r"""Returns the reward of each completion, None for one that is ungraded: `GRPOTrainer(reward_funcs=trl_reward)`.

    Args:
        completions: texts, or lists of chat messages whose last one is graded.
        solution: the references: bare answers, boxed ones, or worked solutions; a row without one (None) is ungraded.
        columns: the other columns; the references may also be named as in `REFERENCE_COLUMNS`.

    Raises:
        ConfigError (a ValueError): when no column holds the references.
        GradingError: when no grading process can be started.

    >>> trl_reward([r"\boxed{.5}", "I give up", [{"role": "assistant", "content": "#### 4"}]], ["1/2", "3", "#### 4"])
    [1.0, 0.0, 1.0]
    """
    references = next(
        (column for name in REFERENCE_COLUMNS if (column := {**columns, "solution": solution}.get(name)) is not None),
        None,
    )
    if references is None:
        found = ", ".join(columns) or "none"
        raise ConfigError(f"trl_reward needs a column {' or '.join(REFERENCE_COLUMNS)} in the data set, found: {found}")
    known = [row for row, reference in enumerate(references) if reference is not None]
    pairs = [(_text_of_completion(completions[row]), _reference_text(references[row])) for row in known]
    rewards: list[float | None] = [None] * len(completions)
    for row, grade in zip(known, shared_pool().grade_many(pairs), strict=True):
        rewards[row] = float(grade.reward) if grade.graded else None
    return rewards


def verl_reward(
    data_source: str,  # noqa: ARG001  (verl's signature)
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,  # noqa: ARG001
    **_: Any,
) -> dict[str, Any]:
    r"""Returns the reward of one completion, for `reward.custom_reward_function` of plain verl.

    Args:
        data_source: not used; every data set is graded alike.
        solution_str: the completion.
        ground_truth: the reference: an answer, a worked solution, or a list of one.
        extra_info: not used.

    Returns:
        `score`, 1.0 or 0.0; `acc`, the same; `pred`, the answer or an empty text; `status`. An ungraded completion has
        the score 0.0, since verl averages scores: `status` tells it from a wrong one.

    Raises:
        GradingError: when no grading process can be started.

    >>> verl_reward("math", r"So \boxed{0.5}.", "1/2")
    {'score': 1.0, 'acc': 1.0, 'pred': '0.5', 'status': 'correct'}
    """
    (grade,) = shared_pool().grade_many([(solution_str, _reference_text(ground_truth))])
    return {
        "score": float(grade.reward) if grade.graded else 0.0,
        "acc": float(grade.status == "correct"),
        "pred": grade.answer or "",
        "status": grade.status,
    }


def _reference_text(reference: Any) -> str:
    """A reference as text: of a table the target, of a list or array of one its element."""
    if isinstance(reference, Mapping):
        reference = next((reference[name] for name in ("target", *REFERENCE_COLUMNS) if name in reference), "")
    if hasattr(reference, "tolist"):  # of numpy, from parquet
        reference = reference.tolist()
    if isinstance(reference, list | tuple) and len(reference) == 1:
        reference = reference[0]
    if isinstance(reference, float) and reference.is_integer():
        reference = int(reference)
    return "" if reference is None else str(reference)


def _text_of_completion(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):  # of parts: {"type": "text", "text": ...}
        content = "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    return content or ""
