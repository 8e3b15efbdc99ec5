"""Sampling that is divided among ranks, for evaluations: each takes every so many-th block of requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ngrpo.evaluation.evaluate import EvaluationPlan
from ngrpo.sampling import Decoding, Request, Sampler
from ngrpo.training.divisions import BLOCKS
from ngrpo.training.ranks import Ranks
from ngrpo.types import Completion


class SpreadSampler(Sampler):
    """Yields in every rank the completions of all; every rank must ask for the same requests.

    The blocks are those of a single process, so that their logits are the same to the bit.

    Args:
        sampler: samples this rank's blocks.
        ranks: those that share the work.
    """

    def __init__(self, sampler: Sampler, ranks: Ranks) -> None:
        self._sampler, self._ranks = sampler, ranks

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        """See `Sampler.blocks`."""
        return self._sampler.blocks(requests)

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields the completions of as many blocks at a time as there are ranks; see `Sampler.stream`."""

        def sampled(blocks: Sequence[Sequence[Request]]) -> list[Sequence[Completion]]:
            return [self._sampled(block, decoding, seed, round_name) for block in blocks]

        blocks = self.blocks(requests)
        for start in range(0, len(blocks), self._ranks.count):
            wave = blocks[start : start + self._ranks.count]
            of_wave = self._ranks.spread([[requests[i] for i in block] for block in wave], sampled, BLOCKS)
            for block, completions in zip(wave, of_wave, strict=True):
                yield from zip(block, completions, strict=True)

    def _sampled(self, requests: Sequence[Request], decoding: Decoding, seed: int, round_name: str) -> list[Completion]:
        found = dict(self._sampler.stream(requests, decoding, seed=seed, round_name=round_name))
        return [found[i] for i in range(len(requests))]


def sample_for_first_rank(sampler: Sampler, ranks: Ranks, requests: Sequence[Request], plan: EvaluationPlan) -> None:
    """Samples this rank's part of an evaluation that the first rank makes.

    Args:
        sampler: samples this rank's blocks.
        ranks: those that share the work.
        requests: of the whole evaluation.
        plan: how they are sampled.
    """
    ordered = [requests[i] for block in sampler.blocks(requests) for i in block]  # as `evaluate` asks for them
    stream = SpreadSampler(sampler, ranks).stream(ordered, plan.decoding, seed=plan.seed, round_name=plan.round_name)
    for _ in stream:
        pass
