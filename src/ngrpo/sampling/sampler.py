"""The `Sampler` protocol: the one thing that training and evaluation know about an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ngrpo.types import Completion, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the model is given for a problem: its tokens [L]."""

    problem: Problem
    tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decoding:
    """The distribution that tokens are drawn from.

    `temperature` divides the logits, 0 takes the likeliest token; `top_p` in (0, 1] keeps the smallest set of tokens
    with at least this much probability; completions are cut at `max_completion_tokens`.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_tokens: int = 3072


class Sampler(Protocol):
    """An engine that draws completions."""

    def sample(
        self, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, *, seed: int, round_name: str
    ) -> list[list[Completion]]:
        """Returns, for each prompt, one completion for each sample index.

        A completion depends on the weights, its prompt and its own random stream alone, which is keyed by (seed,
        round_name, problem id, sample): a different batch, order or resume draws the same numbers.

        Args:
            prompts: the prompts, of any lengths.
            samples: indices of the completions wanted for each prompt, such as range(group_size).
            decoding: temperature, top_p and length limit.
            seed: the run's seed.
            round_name: names the occasion, such as "step 12", so that a problem met again is drawn afresh.

        Raises:
            TrainingError: when the model's logits are not finite.
        """
        ...
