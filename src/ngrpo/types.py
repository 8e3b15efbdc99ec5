"""The nouns that travel through the system, each a frozen dataclass without behaviour of its own.

A `Problem` becomes a prompt; the sampler answers with `Completion`s; the grader gives each a `Grade`; the three
together are a `Rollout`; the G rollouts of one problem are a `Group`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["correct", "wrong", "no_answer", "ungraded"]
"""`no_answer` is graded (reward 0); `ungraded` is not: its completion says nothing about the problem."""

FinishReason = Literal["stop", "length", "refused"]
"""`refused`: a server gave no completion for this request after several tries."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat prompt."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its reference answer.

    `messages` is set where the data carries a conversation of several messages. `metadata` holds what a task needs for
    grading or what a report groups by (level, type, source).
    """

    id: str
    question: str
    reference: str
    messages: tuple[Message, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class KeptTokens:
    """The tokens that truncated sampling kept at each of T positions: `counts` [T] int32, all `tokens` int32 in order.

    The tokens of a position are those that could have been sampled there, the sampled one among them.
    """

    counts: NDArray[np.int32]
    tokens: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """What the model wrote after one prompt.

    `finish_reason` is "stop" where the model ended it, with an end-of-sequence token or a stop string, and "length"
    where the limit did. `tokens` [T] int64 include the end-of-sequence token, and all tokens of a stop string; `text`
    does not have the former. `logprobs` [T] float32 are those the tokens were sampled with, in nats. `kept` is what
    top_k, top_p and min_p kept, None where they keep all or nobody asked for it. Where `finish_reason` is "refused",
    text and tokens are empty and `refusal` is the server's reason.
    """

    text: str
    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    finish_reason: FinishReason
    refusal: str = ""
    kept: KeptTokens | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one completion.

    `reward` lies in [0, max_reward] of the task, or anywhere with several weighted graders; for `ungraded` it is 0 and
    means nothing. `reason` says which rule decided or, for `ungraded`, what went wrong (timeout, limit, crash).
    """

    status: Status
    reward: float
    answer: str | None = None
    reason: str = ""

    @property
    def graded(self) -> bool:
        """True unless the grader could not decide."""
        return self.status != "ungraded"


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One completion of one problem with its grade; `sample` is its 0-based index inside the group."""

    problem: Problem
    sample: int
    completion: Completion
    grade: Grade


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The G rollouts of one problem, in the order of `sample`, with the prompt that they share: tokens [L] and text."""

    problem: Problem
    prompt_tokens: NDArray[np.int64]
    rollouts: tuple[Rollout, ...]
    prompt: str = ""
