"""What every task offers to the trainer and to evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import ClassVar

from pydantic import field_validator

from ngrpo.choices import Split
from ngrpo.settings import Settings
from ngrpo.tasks.conversations import with_template
from ngrpo.types import Grade, Message, Problem


class Task(Settings):
    """Problems and their grader; the fields of a subclass are the keys of the `[task]` table."""

    label: ClassVar[str] = "task"
    argument: ClassVar[str] = ""
    """What stands behind the colon of its spec, for documentation, such as PATH; empty for nothing."""

    name: str
    """The spec that chose this task: NAME or NAME:PATH."""
    prompt: str = "{question}"
    """Template of the user's message (in a conversation the last one); `{question}` is replaced, other braces stay."""
    system: str = ""
    """System message of every prompt; empty for none, or for those that conversations have."""
    continue_final_message: bool = False
    """Continue conversations that end with an assistant message; otherwise they are an error."""
    max_reward: float = 1.0
    """Reward of a correct completion."""

    @field_validator("prompt")
    @classmethod
    def _holds_the_question(cls, prompt: str) -> str:
        if "{question}" not in prompt:
            raise ValueError("must contain {question}, or every problem has the same prompt")
        if "{{question}}" in prompt:
            raise ValueError("must contain {question} with single braces")
        return prompt

    @field_validator("system")
    @classmethod
    def _is_the_same_for_all(cls, system: str) -> str:
        if "{question}" in system:
            raise ValueError("must not contain {question}, which is replaced in 'prompt' only")
        return system

    @property
    def slug(self) -> str:
        """The task's name as a file name, `aime2025` or a file's own name; letters, digits, `.`, `-` and `_` only."""
        kind, _, path = self.name.partition(":")
        name = PurePath(path).stem if kind == "file" else kind
        kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
        return kept.strip("._")[:100] or "task"

    def problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split, in a fixed order and with unique ids; they are loaded once.

        Raises:
            DataError: when a file is missing, empty or not in a form that is understood.
        """
        return _loaded(self, split)

    @abstractmethod
    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Reads or makes the problems that `problems` returns; see there."""

    @property
    def grades_by_reference(self) -> bool:
        """True when a grade needs nothing of the problem but its reference."""
        return False

    @abstractmethod
    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns the grade of each (problem, completion text) pair, in the order given."""

    def check_grader(self) -> None:
        """Raises GradingError where it is known before anything is graded that nothing can be."""

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """Returns the chat prompt of a problem, with the task's template and system message."""
        turns = problem.messages or (Message("user", problem.question),)
        return with_template(turns, self.prompt, self.system)


@lru_cache(maxsize=16)
def _loaded(task: Task, split: Split) -> Sequence[Problem]:
    # Kept beside the task, not in it: two tasks of equal settings are equal whether their problems are loaded or not.
    return task.load_problems(split)
