"""Custom graders: functions that judge a whole completion, the user's own, reasoning-gym's or a taskset's of verifiers.

Only the grading process imports them: what they print, allocate, raise or leave running stays there.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from functools import cache, partial, reduce
from typing import Any, get_args

from ngrpo.errors import MissingDependencyError
from ngrpo.grading.graders import REASONING_GYM, VERIFIERS
from ngrpo.types import Grade, Status

Metadata = Mapping[str, Any]
CustomGrader = Callable[[str, str, Metadata], Any]
"""Grades (completion, reference, the problem's metadata); see `custom_grade` for what it may return."""


def load_custom_grader(spec: str, max_reward: float) -> CustomGrader:
    """Returns the custom grader that a grader names.

    A function takes the completion and the reference, and the problem's metadata as a third argument if it has a third
    parameter without a default, or one called `metadata`.

    Raises:
        ImportError, AttributeError, TypeError: when there is no such function; whatever importing its module raises.
    """
    if spec == REASONING_GYM:
        return _reasoning_gym(max_reward)
    if spec.startswith(VERIFIERS):
        from ngrpo.grading.verifiers_rewards import rewards_of

        return rewards_of(spec.removeprefix(VERIFIERS))
    module, _, name = spec.partition(":")
    function = reduce(getattr, name.split("."), importlib.import_module(module))
    if not callable(function):
        raise TypeError(f"{spec} is not a function")
    return function if _takes_metadata(function) else partial(_without_metadata, function)


def custom_grade(returned: object, max_reward: float) -> Grade:
    """Returns what a custom grader's value means.

    True and False are the task's best reward and 0; a number is the reward itself, in [0, max_reward], and only the
    best one is `correct`; None is `ungraded`; a `Grade` is taken as it is. Anything else is `ungraded`.

    >>> custom_grade(True, 2.0).reward, custom_grade(0.5, 1.0), custom_grade(7, 1.0).status
    (2.0, Grade(status='wrong', reward=0.5, answer=None, reason='custom grader'), 'ungraded')
    """
    if isinstance(returned, Grade):
        found = custom_grade(returned.reward, max_reward)
        if returned.status not in get_args(Status) or (returned.graded and found.status == "ungraded"):
            return Grade("ungraded", 0.0, reason=f"grader returned {_shown(returned)}")
        return Grade(returned.status, found.reward, returned.answer, returned.reason or "custom grader")
    if returned is None:
        return Grade("ungraded", 0.0, reason="grader returned None")
    value = returned.item() if hasattr(returned, "item") and getattr(returned, "ndim", 0) == 0 else returned
    if isinstance(value, bool):
        return (
            Grade("correct", max_reward, reason="custom grader")
            if value
            else Grade("wrong", 0.0, reason="custom grader")
        )
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= max_reward:
        return Grade("ungraded", 0.0, reason=f"grader returned {_shown(returned)}, allowed: 0 to {max_reward:g}")
    return Grade("correct" if value == max_reward else "wrong", float(value), reason="custom grader")


def _takes_metadata(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    third = positional[2] if len(positional) > 2 else None
    return third is not None and (third.default is third.empty or third.name == "metadata")


def _without_metadata(function: Callable[[str, str], Any], completion: str, reference: str, _: Metadata) -> Any:
    return function(completion, reference)


def _reasoning_gym(max_reward: float) -> CustomGrader:
    """The scorer (0 to 1) of the data set that a problem's metadata names as `source_dataset`, times the best reward.

    Its answer is the last box, else what stands between <answer> tags, else all of the completion.
    """
    from ngrpo.grading.extract import last_boxed

    try:
        reasoning_gym = importlib.import_module("reasoning_gym")
    except ModuleNotFoundError:
        raise MissingDependencyError("reasoning-gym", "gym", "the grader reasoning-gym") from None
    scorer = cache(reasoning_gym.get_score_answer_fn)

    def grade(completion: str, reference: str, metadata: Metadata) -> Any:
        tagged = completion.rpartition("<answer>")[2].partition("</answer>")[0] if "<answer>" in completion else None
        answer = (last_boxed(completion) or tagged or completion).strip()
        score_of = scorer(metadata["source_dataset"])
        entry = {"question": metadata.get("question", ""), "answer": reference}
        score = float(score_of(answer=answer, entry=entry | {"metadata": metadata}))
        if score < 1.0 and "output" in metadata:
            # The grids of the arc family are tuples, which became lists on the way here, and are compared as they are.
            grids = {**metadata, "output": _as_tuples(metadata["output"])}
            score = max(score, float(score_of(answer=answer, entry=entry | {"metadata": grids})))
        return max_reward * min(1.0, score)

    return grade


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
