"""What the thread that sends requests tells the one that takes the completions."""

from __future__ import annotations

from typing import NamedTuple

from ngrpo.types import Completion


class Sampled(NamedTuple):
    """A completion and the index of its request."""

    request: int
    completion: Completion


class Retried(NamedTuple):
    """A try failed for this reason; the request will be sent again."""

    reason: str


class Note(NamedTuple):
    """Something that a user should know."""

    text: str
