"""Logprobs and entropies of given tokens, in chunks: never a [B, T, V] tensor of logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ngrpo.argument_checks import check_above_0, check_tokens
from ngrpo.errors import ConfigError
from ngrpo.kept_tokens import KeptSets

Head = Callable[[Tensor], Tensor]
"""Hidden states [n, D] to logits [n, V]; run again in the backward pass, so without random numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenLogprobs:
    """`logprobs` [N] and `entropies` [N] in nats, float32; `entropies` is None where none were asked for."""

    logprobs: Tensor
    entropies: Tensor | None


def chunked_logprobs(
    hidden: Tensor,
    tokens: Tensor,
    head: Head,
    *,
    temperature: float = 1.0,
    chunk_size: int = 1024,
    entropy: bool = True,
    entropy_gradient: bool = False,
    kept: KeptSets | None = None,
) -> TokenLogprobs:
    """Returns the logprob of each token, and the entropy of the distribution it was sampled from.

        logprob = log softmax(head(hidden) / temperature)[token]

    With `kept`, the softmax is over the tokens that were kept at each position.

    At most `chunk_size` rows of logits exist at a time, in the backward pass too: it computes them again,
    chunk by chunk. The result does not depend on `chunk_size` beyond rounding. Without tokens both results
    are empty.

    Args:
        hidden: [N, D] hidden state *before* each token, of the tokens of interest only.
        tokens: [N] integer token ids below V.
        head: hidden states [n, D] to logits [n, V].
        temperature: above 0; logits are raised to float32 and divided by it.
        chunk_size: rows of logits at a time, at least 1.
        entropy: whether entropies are computed.
        entropy_gradient: whether they can be differentiated (an entropy bonus needs it); costs memory per
            chunk.
        kept: what truncated sampling kept at the N positions, each token among it; None for all.

    Returns:
        Logprobs and entropies; the former, and with `entropy_gradient` the latter, differentiable in
        `hidden` and in the parameters of `head`.

    Raises:
        ConfigError: for shapes that do not fit, or a temperature or chunk size out of range.

    Examples:
        >>> out = chunked_logprobs(torch.zeros(2, 3), torch.tensor([0, 4]), torch.nn.Linear(3, 5, bias=False))
        >>> out.logprobs  # -log 5
        tensor([-1.6094, -1.6094], grad_fn=<CatBackward0>)
    """
    check_tokens(hidden, tokens, chunk_size)
    check_above_0("temperature", temperature)

    def of_chunk(rows: Tensor, ids: Tensor, part: slice) -> tuple[Tensor, Tensor | None]:
        logits = head(rows)
        if kept is not None:
            logits = logits.masked_fill(kept.left_out(part, logits.shape[-1]), -torch.inf)
        log_probs = _log_softmax(logits, temperature)
        chosen = _chosen(log_probs, ids)
        if not entropy:
            return chosen, None
        return chosen, _entropies(log_probs if entropy_gradient else log_probs.detach())

    logprobs, entropies = [], []
    for start in range(0, max(1, len(tokens)), chunk_size):
        part = slice(start, start + chunk_size)
        rows, ids = hidden[part], tokens[part]
        if torch.is_grad_enabled():
            chosen, spread = checkpoint(of_chunk, rows, ids, part, use_reentrant=False, preserve_rng_state=False)
        else:
            chosen, spread = of_chunk(rows, ids, part)
        logprobs.append(chosen)
        entropies.append(spread)
    return TokenLogprobs(torch.cat(logprobs), torch.cat(entropies) if entropy else None)


def logprobs_of_logits(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns the logprob of each token, for callers that hold the logits already.

    Args:
        logits: [..., V].
        tokens: [...] integer token ids below V.
        temperature: above 0; logits are raised to float32 and divided by it.

    Returns:
        [...] float32, in nats.

    Raises:
        ConfigError: for shapes that do not fit or a temperature out of range.

    Examples:
        >>> logprobs_of_logits(torch.zeros(1, 4), torch.tensor([2]))  # -log 4
        tensor([-1.3863])
    """
    check_above_0("temperature", temperature)
    if logits.shape[:-1] != tokens.shape:
        raise ConfigError(
            f"tokens have shape {list(tokens.shape)}; allowed is that of logits without V, {list(logits.shape[:-1])}"
        )
    return _chosen(_log_softmax(logits, temperature), tokens)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits.float() / temperature, dim=-1)


def _chosen(log_probs: Tensor, tokens: Tensor) -> Tensor:
    return log_probs.gather(-1, tokens.long().unsqueeze(-1)).squeeze(-1)


def _entropies(log_probs: Tensor) -> Tensor:
    # A forbidden token has log-probability -inf and probability 0, whose product shall be 0 and not NaN.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs.isneginf(), 0.0)).sum(dim=-1)
