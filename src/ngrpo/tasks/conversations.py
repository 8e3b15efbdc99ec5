"""Rows that hold a conversation: what may be in it, and how a task's template and system message apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ngrpo.errors import DataError
from ngrpo.tasks.cells import tables_in, text_of
from ngrpo.types import Message


@dataclass(frozen=True, slots=True)
class Conversations:
    """The [task] settings that a conversation must agree with."""

    system: str = ""
    continue_final_message: bool = False

    def question_of(self, value: Any, where: str) -> tuple[str, tuple[Message, ...]]:
        """Returns the last question of a cell, and the messages of a conversation of more than one.

        Args:
            value: text, or a list of messages with 'role' and 'content'.
            where: file, row and column, for messages.

        Raises:
            DataError: for anything else, a conversation without a question, one that is already answered, or one with a
                system message beside the task's.
        """
        value = tables_in(value)
        if not isinstance(value, list):
            return text_of(value, where), ()
        if not value or not all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in value):
            raise DataError(f"{where} must be text or a list of messages with 'role' and 'content'")
        messages = tuple(Message(turn["role"], text_of(turn.get("content"), where)) for turn in value)
        asked = [message.content for message in messages if message.role == "user"]
        if not asked:
            raise DataError(f"{where} holds no message of the role 'user'")
        if messages[-1].role == "assistant" and not self.continue_final_message:
            raise DataError(
                f"{where} ends with an assistant message, so the answer would be in the prompt: remove it, or set "
                "[task] continue_final_message = true to have it continued"
            )
        if self.system and any(message.role == "system" for message in messages):
            raise DataError(f"{where} has a system message, and [task] system is set: remove one of the two")
        return asked[-1], () if len(messages) == 1 else messages


ANY_SYSTEM = Conversations()
"""The task has no system message."""


def with_template(turns: Sequence[Message], template: str, system: str) -> tuple[Message, ...]:
    """Returns a conversation with the template applied to its last question, after a system message if there is one.

    >>> [turn.content for turn in with_template([Message("user", "1+1?")], "Q: {question}", "Be brief.")]
    ['Be brief.', 'Q: 1+1?']
    """
    last = max(place for place, turn in enumerate(turns) if turn.role == "user")
    asked = Message("user", template.replace("{question}", turns[last].content))
    first = (Message("system", system),) if system else ()
    return (*first, *turns[:last], asked, *turns[last + 1 :])
