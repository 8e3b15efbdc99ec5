"""Tasksets of the package `verifiers`, each with its own rewards: `verifiers:NAME`."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from ngrpo.choices import Split
from ngrpo.errors import ConfigError, DataError, MissingDependencyError, error_line
from ngrpo.grading.graders import OPTIONS, TASK_DATA, VERIFIERS
from ngrpo.tasks.math import MathTask
from ngrpo.types import Message, Problem


class VerifiersTaskset(MathTask):
    """`verifiers:NAME`: the tasks of an installed taskset of `verifiers` 0.4, graded by its own rewards.

    Tasks are a prompt that the model answers with one message of text. A taskset that needs tools, several turns, a
    container, a runtime or a grading model is an error.
    """

    argument: ClassVar[str] = "NAME"
    label: ClassVar[str] = "verifiers"

    prompt: str = "{question}"
    """Template of the last user message; tasksets have their own instructions."""
    grader: str = ""
    """What grades; by default, with the task's own name, the weighted sum of the taskset's rewards."""
    max_reward: float = 1.0
    """Reward of a correct completion, for most tasksets the sum of the weights; a sum outside of 0 to this is
    ungraded."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the taskset's config, such as {split = "train"}."""
    test_options: dict[str, Any] = Field(default_factory=dict)
    """Fields that are different for the test problems, such as {split = "test"}; empty: the first test_size tasks are
    the test problems, the others those for training."""
    size: int = Field(0, ge=0)
    """Only the first so many tasks; 0 for all."""
    test_size: int = Field(100, ge=1)
    """Test problems, at most."""

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str = "") -> Self:
        """Returns the validated settings, with the grader filled in, so that the resolved config has it.

        Args:
            table: as in `Settings.parse`.
            where: as in `Settings.parse`.
        """
        return super().parse({"grader": table.get("name"), **table}, where=where)

    @field_validator("name")
    @classmethod
    def _has_name(cls, name: str) -> str:
        if not name.startswith(VERIFIERS) or not name.removeprefix(VERIFIERS):
            raise ValueError("must be verifiers:NAME, NAME being an installed taskset")
        return name

    @property
    def taskset(self) -> str:
        """The taskset's id."""
        return self.name.removeprefix(VERIFIERS)

    @property
    def slug(self) -> str:
        """The task's name as a file name, `verifiers-NAME`."""
        name = self.taskset.rpartition("/")[2].partition("@")[0]
        return "verifiers-" + "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:90]

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the tasks of a split in the taskset's order.

        Raises:
            MissingDependencyError: when verifiers is not installed.
            ConfigError: when there is no such taskset, it does not take the options, or it cannot be used here.
            DataError: for a task that cannot be used here, an id that repeats, or no task.
        """
        if split == "test":
            return self._problems({**self.options, **self.test_options}, 0, self.test_size)
        return self._problems(self.options, 0 if self.test_options else self.test_size, None)

    def _problems(self, options: Mapping[str, Any], start: int, stop: int | None) -> Sequence[Problem]:
        if self.size:
            stop = min(self.size, stop or self.size)
        problems = [self._problem(task, options) for task in itertools.islice(self._tasks(options), start, stop)]
        if not problems:
            raise DataError(f"task '{self.name}' has no tasks for this split ([task] size, test_size and test_options)")
        seen: set[str] = set()
        for problem in problems:
            if problem.id in seen:
                raise DataError(f"task '{self.name}': the id '{problem.id}' repeats")
            seen.add(problem.id)
        return tuple(problems)

    def _tasks(self, options: Mapping[str, Any]) -> Iterator[Any]:
        if find_spec("verifiers") is None:
            raise MissingDependencyError("verifiers", "verifiers", f"task '{self.name}'")
        from verifiers.v1.utils.loaders import load_taskset, taskset_config_type

        try:
            config = taskset_config_type(self.taskset).model_validate({**options, "id": self.taskset})
            taskset = load_taskset(config)
            reason = unusable(self.taskset, taskset)
        except ImportError as error:
            raise ConfigError(f"task '{self.name}': {error_line(error)}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"[task] options of {self.name}: {error_line(error)}") from None
        if reason:
            raise ConfigError(f"task '{self.name}' {reason}: only tasksets of one turn of text can be used here")
        if not (taskset.bounded or self.size):
            raise ConfigError(f"task '{self.name}' never ends: give [task] size, the number of its tasks to use")
        return iter(taskset)

    def _problem(self, task: Any, options: Mapping[str, Any]) -> Problem:
        data, place = task.data, f"task {task.data.idx} of '{self.name}'"
        if reason := _unusable_data(data):
            raise DataError(f"{place} {reason}: only tasks of one turn of text can be used here")
        if self.system and data.system_prompt:
            raise DataError(f"{place} has a system prompt, and [task] system is set: remove one of the two")
        turns = [Message("user", data.prompt)] if isinstance(data.prompt, str) else _messages(data.prompt)
        if data.system_prompt:
            turns.insert(0, Message("system", data.system_prompt))
        metadata = {OPTIONS: dict(options), TASK_DATA: data.model_dump(mode="json")}
        return Problem(
            data.id or str(data.idx),
            turns[-1].content,
            str(getattr(data, "answer", "")),
            tuple(turns) if len(turns) > 1 else (),
            metadata,
        )


def unusable(name: str, taskset: Any) -> str:
    """Returns why the tasks of a taskset cannot be answered with one message of text, "" where they can."""
    from verifiers.v1 import SingleAgentEnv, Task
    from verifiers.v1.utils.loaders import default_harness_id, environment_class

    kind, config = taskset.task_type(), taskset.config
    if tools := [*type(taskset).toolsets(config), *kind.toolsets(config.task)]:
        return f"needs tools ({', '.join(sorted({type(tool).__name__ for tool in tools}))})"
    if environment_class(name) is not SingleAgentEnv:
        return f"has an environment of its own ({environment_class(name).__name__}), for several turns or agents"
    if (harness := default_harness_id(name)) == name:
        return f"needs its own harness ({harness})"
    if kind.NEEDS_CONTAINER:
        return "needs a container"
    hooks = [hook for hook in ("setup", "finalize", "stage_verifier") if getattr(kind, hook) is not getattr(Task, hook)]
    if hooks:
        return f"needs a runtime ({kind.__name__}.{hooks[0]})"
    if config.task.judges:
        return f"needs a grading model ({config.task.judges[0].id})"
    rewards = kind(kind.data_type().model_construct(), config.task).hooks("reward")
    if not rewards:
        return "has no rewards"
    for reward in rewards:
        runtime = inspect.signature(reward).parameters.get("runtime")
        if runtime is not None and runtime.default is inspect.Parameter.empty:
            return f"has a reward that needs a runtime ({reward.__name__})"
    return ""


def _unusable_data(data: Any) -> str:
    if not data.prompt:
        return "has no prompt: its user opens the conversation"
    if data.image or data.skills:
        return "needs a container" if data.image else "needs skills"
    if not isinstance(data.prompt, str):
        if any(not isinstance(message.content, str) for message in data.prompt):
            return "has a prompt that is not text"
        if data.prompt[-1].role != "user":
            return "has a prompt that does not end with the user's message"
    return ""


def _messages(prompt: Sequence[Any]) -> list[Message]:
    return [Message(message.role, message.content) for message in prompt]
