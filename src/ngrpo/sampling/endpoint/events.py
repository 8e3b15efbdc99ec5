"""What the thread that sends requests tells the one that takes the completions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ngrpo.types import Completion

if TYPE_CHECKING:
    from ngrpo.sampling.endpoint.requesting import Drawing


class Drawn(NamedTuple):
    """A completion and the index of its request."""

    request: int
    completion: Completion


class Retried(NamedTuple):
    """A try failed for this reason; the request will be sent again."""

    reason: str


class Note(NamedTuple):
    """Something that a user should know."""

    text: str


def deliver(
    drawing: Drawing, on_message: Callable[[str], None], on_retry: Callable[[int, str], None]
) -> Iterator[tuple[int, Completion]]:
    """Yields what a drawing draws, each completion once, and stops it when nobody wants more.

    Args:
        drawing: not yet started.
        on_message: is told what a user should know.
        on_retry: is told how many tries have failed in this draw, and why the last one did.

    Raises:
        ConfigError: when the server refuses a request.
        EngineError: when it does not answer any more.
    """
    retries = 0
    drawing.start()
    try:
        while (event := drawing.events.get()) is not None:
            match event:
                case Drawn(index, completion):
                    yield index, completion
                case Retried(reason):
                    retries += 1
                    on_retry(retries, reason)
                case Note(text):
                    on_message(text)
                case BaseException():
                    raise event
    finally:
        drawing.stop()
