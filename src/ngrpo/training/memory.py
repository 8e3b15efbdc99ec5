"""Out of memory in an update: the micro-batches are halved, and the update is made again from the same state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ngrpo.errors import TrainingError
from ngrpo.models.out_of_memory import is_out_of_memory, release_memory

Result = TypeVar("Result")


class MicroBatchBudget:
    """Tokens of a micro-batch, padding included; halved whenever they do not fit.

    Args:
        tokens: [optimizer] tokens_per_micro_batch.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.on_message: Callable[[str], None] = lambda _text: None

    def fitted(
        self, function: Callable[[], Result], *, longest: int, undo: Callable[[], None] = lambda: None
    ) -> Result:
        """Returns what the function returns, with micro-batches that fit.

        Args:
            function: reads `tokens`; it is called again after an out-of-memory error.
            longest: tokens of the longest row; a micro-batch has at least one row.
            undo: removes what a failed call has changed.

        Raises:
            TrainingError: when not even one row fits.
        """
        while True:
            try:
                return function()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler: the traceback holds the tensors of the failed call.
            undo()
            release_memory()
            if self.tokens <= longest:
                raise TrainingError(
                    f"out of memory in an update, with one row of {longest} tokens at a time: lower [sampling] "
                    "max_completion_tokens, set [model] gradient_checkpointing, or train a [model.lora]"
                )
            before, self.tokens = self.tokens, max(longest, self.tokens // 2)
            self.on_message(
                f"out of memory in an update: micro-batches of {self.tokens} tokens in place of {before}; to start "
                "with fewer, set [optimizer] tokens_per_micro_batch"
            )
