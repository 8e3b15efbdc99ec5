"""`Sampler`: what training and evaluation know of whatever samples completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ngrpo.types import Completion, Message, Problem

if TYPE_CHECKING:
    from ngrpo.kept_tokens import Truncation


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What the model is given for a problem: tokens [L], their text, and the chat messages that it was made of.

    `template_variables` are for the chat template of a server; elsewhere the tokens have them already.
    """

    problem: Problem
    tokens: NDArray[np.int64]
    messages: tuple[Message, ...] = ()
    text: str = ""
    template_variables: Mapping[str, Any] = field(default_factory=dict)


class Request(NamedTuple):
    """One completion that is wanted: the prompt, and the completion's 0-based index among those of its problem."""

    prompt: Prompt
    sample: int


@dataclass(frozen=True, slots=True)
class Decoding:
    """The distribution that tokens are sampled from.

    `temperature` divides the logits, 0 takes the likeliest token; `top_p`, `top_k` and `min_p` leave tokens out (see
    `Truncation`); completions are cut at `max_completion_tokens`. A completion ends with the first token with which its
    text contains one of the `stop` strings, which stays in the text with `include_stop`. With `record_kept`,
    completions have the tokens that were kept, where the sampler knows them: training needs them, evaluation does not.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_completion_tokens: int = 3072
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    record_kept: bool = False

    @property
    def truncation(self) -> Truncation:
        """Which tokens can be sampled."""
        from ngrpo.kept_tokens import Truncation  # imports torch

        return Truncation(self.top_k, self.top_p, self.min_p)


class Sampler(ABC):
    """Samples completions of prompts.

    A completion depends on the weights, its prompt and its own random stream alone, which is keyed by (seed,
    round_name, problem id, sample): a different batch, order or resume uses the same numbers. What a sampler does
    with them is its own affair: `transformers` gives equal tokens wherever the logits are the same to the bit, vLLM's
    logits move in their last digits with what else is in the batch.
    """

    on_message: Callable[[str], None] = staticmethod(lambda _text: None)
    """Is given what a user should know, such as that memory ran out; set by whoever makes the sampler."""

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        """Returns the indices of requests that are sampled together, in the order in which they are sampled.

        Logits may depend in their last bits on what else is in a batch. Who wants the same bits again, such as an
        evaluation that resumes, asks for whole blocks, which then come out the same whichever others were asked for.
        A sampler whose batches nobody can repeat has blocks of one.
        """
        return [[index] for index in range(len(requests))]

    @abstractmethod
    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields the index and the completion of each request once, in any order, as they are finished.

        Args:
            requests: what is wanted, each (problem, sample) once.
            decoding: temperature, top_p and length limit.
            seed: the run's seed.
            round_name: names the occasion, such as "step 12", so that a problem met again is sampled afresh.

        Raises:
            ConfigError: when a prompt does not fit the model.
            TrainingError: when the model's logits are not finite.
            SamplerError: when the sampler does not answer any more.
        """

    def sample(
        self, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, *, seed: int, round_name: str
    ) -> list[list[Completion]]:
        """Returns, for each prompt, one completion for each sample index; see `stream`."""
        requests = [Request(prompt, sample) for prompt in prompts for sample in samples]
        sampled: list[Any] = [None] * len(requests)
        for index, completion in self.stream(requests, decoding, seed=seed, round_name=round_name):
            sampled[index] = completion
        size = len(samples)
        return [sampled[i * size : (i + 1) * size] for i in range(len(prompts))]

    def update_weights(self) -> None:  # noqa: B027 - most share the policy's weights
        """Takes the policy's weights after an update; nothing to do for a sampler that shares them."""
