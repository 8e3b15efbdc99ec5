"""Truncated sampling: which tokens top_k, top_p and min_p keep, and those kept at each position of completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.argument_checks import check_above_0
from ngrpo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Truncation:
    """What is left of softmax(logits / temperature) before it is sampled from; in the order of vLLM.

    `min_p` in [0, 1) keeps tokens with at least this share of the likeliest one's probability, 0 all; of these `top_k`
    keeps the so many likeliest, 0 all; of these `top_p` in (0, 1] keeps the smallest set of likeliest ones with at
    least this share of their probability, 1 all. Equal probabilities are taken in order of index.
    """

    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    @property
    def keeps_all(self) -> bool:
        """True when every token can be sampled."""
        return self.top_k == 0 and self.top_p >= 1.0 and self.min_p == 0.0


NO_TRUNCATION = Truncation()


def kept_counts(ordered: Tensor, truncation: Truncation) -> Tensor:
    """Returns how many of each row's likeliest tokens are kept, at least 1.

    Args:
        ordered: probabilities [B, V] of rows, highest first.
        truncation: the rules.

    Returns:
        [B] int64.

    Example:
        >>> kept_counts(torch.tensor([[0.5, 0.25, 0.25]]), Truncation(top_p=0.6))
        tensor([2])
    """
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if truncation.min_p > 0.0:
        kept &= ordered >= truncation.min_p * ordered[:, :1]
    if truncation.top_k:
        kept[:, truncation.top_k :] = False
    if truncation.top_p < 1.0:
        rest = truncation.top_k or truncation.min_p > 0.0
        mass = torch.where(kept, ordered, 0.0) if rest else ordered
        before = torch.zeros_like(mass)
        before[:, 1:] = mass.cumsum(dim=-1)[:, :-1]
        kept &= before < (truncation.top_p * mass.sum(dim=-1, keepdim=True) if rest else truncation.top_p)
    kept[:, 0] = True
    return kept.sum(dim=-1)


@dataclass(frozen=True, slots=True, eq=False)
class KeptSets:
    """The tokens that were kept at N positions: those of position i are tokens[starts[i]:starts[i + 1]].

    `starts` is [N + 1] int64, `tokens` [M] int64.
    """

    starts: Tensor
    tokens: Tensor

    @classmethod
    def of_counts(cls, counts: Tensor, tokens: Tensor) -> KeptSets:
        """Returns the sets of positions that kept `counts` [N] tokens each, all of them in `tokens` [M]."""
        starts = torch.zeros(len(counts) + 1, dtype=torch.int64, device=counts.device)
        starts[1:] = counts.cumsum(dim=0)
        return cls(starts, tokens.long())

    @property
    def counts(self) -> Tensor:
        """How many tokens each position kept, [N]."""
        return self.starts.diff()

    def left_out(self, part: slice, vocabulary: int) -> Tensor:
        """Returns which tokens the positions in `part` did not keep, [n, V] bool.

        >>> sets = KeptSets.of_counts(torch.tensor([2, 1]), torch.tensor([0, 2, 1]))
        >>> sets.left_out(slice(0, 2), 3).int()
        tensor([[0, 1, 0],
                [1, 0, 1]], dtype=torch.int32)
        """
        first, last, _ = part.indices(len(self.starts) - 1)
        starts = self.starts[first : last + 1]
        out = torch.ones(last - first, vocabulary, dtype=torch.bool, device=self.tokens.device)
        rows = torch.arange(last - first, device=self.tokens.device).repeat_interleave(starts.diff())
        out[rows, self.tokens[int(starts[0]) : int(starts[-1])]] = False
        return out


def kept_sets(logits: Tensor, truncation: Truncation, tokens: Tensor, temperature: float = 1.0) -> KeptSets:
    """Returns what a truncation keeps of softmax(logits / temperature), computed in float64.

    Args:
        logits: [N, V].
        truncation: the rules.
        tokens: [N] ids that are kept in any case: those that a sampler with slightly other logits has sampled.
        temperature: above 0.

    Raises:
        ConfigError: for a temperature out of range.
    """
    check_above_0("temperature", temperature)
    ordered, order = (logits.double() / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    kept = torch.arange(logits.shape[-1], device=logits.device) < kept_counts(ordered, truncation)[:, None]
    kept |= order == tokens.long()[:, None]
    return KeptSets.of_counts(kept.sum(dim=-1), order[kept])


def joined(parts: Sequence[KeptSets]) -> KeptSets:
    """Returns the sets of all parts, in order.

    Raises:
        ConfigError: for no part.
    """
    if not parts:
        raise ConfigError("no kept sets to join; allowed is at least one part")
    return KeptSets.of_counts(torch.cat([part.counts for part in parts]), torch.cat([part.tokens for part in parts]))
