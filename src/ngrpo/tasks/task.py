"""What every task offers to the trainer and to evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from ngrpo.choices import Split
from ngrpo.settings import Settings
from ngrpo.tasks.conversations import with_template
from ngrpo.types import Grade, Message, Problem

_OWN_ARGUMENTS = frozenset(
    {"add_generation_prompt", "continue_final_message", "tokenize", "conversation", "messages", "chat_template"}
    | {"return_dict", "return_tensors", "padding", "truncation", "max_length", "tokenizer_kwargs"}
    | {"return_assistant_tokens_mask"}
)
"""Arguments of apply_chat_template that are no variables of a template."""


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
    chat: bool = True
    """Use the model's chat template where it has one; false: plain prompts, the texts joined by blank lines."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Variables of the model's chat template, such as {enable_thinking = false} for Qwen3."""
    prefill: str = ""
    """Beginning of every assistant message, which the model continues, such as "<think>"; graders do not see it."""
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

    @field_validator("chat_template_kwargs")
    @classmethod
    def _are_variables(cls, variables: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OWN_ARGUMENTS.intersection(variables)):
            raise ValueError(f"must not contain '{taken[0]}', which is set by the trainer")
        return variables

    @model_validator(mode="after")
    def _template_is_used(self) -> Self:
        if self.chat_template_kwargs and not self.chat:
            raise ValueError("chat_template_kwargs is given, but chat = false uses no chat template: remove one")
        return self

    def __hash__(self) -> int:
        """A hash for tables too, which have none of their own."""
        return hash(self.model_dump_json())

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
    def highest_reward(self) -> float:
        """The highest reward that a completion can get."""
        return self.max_reward

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
        """Returns the chat prompt of a problem, with the task's template, system message and prefill.

        A conversation that ends with an assistant message keeps its own instead of the prefill.
        """
        turns = with_template(problem.messages or (Message("user", problem.question),), self.prompt, self.system)
        prefilled = self.prefill and turns[-1].role != "assistant"
        return (*turns, Message("assistant", self.prefill)) if prefilled else turns


@lru_cache(maxsize=16)
def _loaded(task: Task, split: Split) -> Sequence[Problem]:
    # Kept beside the task, not in it: two tasks of equal settings are equal whether their problems are loaded or not.
    return task.load_problems(split)
