"""What truncated sampling keeps, against plain Python; and the losses over kept tokens, against a masked softmax."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.fused_loss import LinearHead, fused_token_loss
from ngrpo.kept_tokens import KeptSets, Truncation, joined, kept_counts, kept_sets
from ngrpo.logprobs import chunked_logprobs

N, D, V = 9, 5, 11
GENERATOR = torch.Generator().manual_seed(0)


def oracle(probs: list[float], rules: Truncation) -> list[int]:
    """The kept tokens of one row, in the order min_p, top_k, top_p."""
    order = sorted(range(len(probs)), key=lambda i: -probs[i])
    kept = [i for i in order if probs[i] >= rules.min_p * probs[order[0]]]
    kept = kept[: rules.top_k or None]
    if rules.top_p >= 1.0:
        return kept
    wanted, mass, nucleus = rules.top_p * sum(probs[i] for i in kept), 0.0, list[int]()
    for token in kept:
        if nucleus and mass >= wanted:
            break
        nucleus.append(token)
        mass += probs[token]
    return nucleus


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-6, 6), min_size=2, max_size=12),
    st.integers(0, 14),
    st.sampled_from([1e-9, 0.3, 0.77, 0.95, 1.0]),
    st.sampled_from([0.0, 0.03, 0.2, 0.99]),
)
def test_kept_tokens_equal_the_oracle(logits: list[float], top_k: int, top_p: float, min_p: float) -> None:
    rules = Truncation(top_k, top_p, min_p)
    probs = torch.tensor([logits], dtype=torch.float64).softmax(dim=-1)
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    count = int(kept_counts(ordered, rules)[0])
    wanted = oracle(probs[0].tolist(), rules)
    # Where two sums differ by rounding alone, either set is right.
    if order[0, :count].tolist() != wanted:
        mass = [math.fsum(ordered[0, :n].tolist()) for n in (count, len(wanted))]
        edges = [ordered[0, min(count, len(wanted))].item()]
        assert abs(count - len(wanted)) == 1
        assert min(*(abs(m - top_p) for m in mass), *(abs(e - min_p * ordered[0, 0].item()) for e in edges)) < 1e-9


def test_sampled_tokens_are_kept_in_any_case() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]] * 2)
    sets = kept_sets(logits, Truncation(top_k=2), torch.tensor([3, 0]))
    assert sets.counts.tolist() == [3, 2]
    assert sets.tokens.tolist() == [0, 1, 3, 0, 1]
    assert joined([sets, sets]).left_out(slice(1, 3), 4).tolist() == [
        [False, False, True, True],
        [False, False, True, False],
    ]
    with pytest.raises(ConfigError):
        joined([])


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("chunk_size", [1, 4, N])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_losses_over_kept_tokens_are_those_of_a_masked_softmax(
    chunk_size: int, entropy: bool, cap: float | None
) -> None:
    hidden, head, temperature = random(N, D), LinearHead(random(V, D), None, 1.3, cap), 0.7
    weights = torch.randn(N, generator=GENERATOR, dtype=torch.float64)
    tokens = torch.randint(V, (N,), generator=GENERATOR)
    sets = kept_sets(head(hidden).detach(), Truncation(top_k=6, top_p=0.9), tokens, temperature)
    masked = (head(hidden) / temperature).masked_fill(sets.left_out(slice(None), V), -1e9).log_softmax(dim=-1)
    logprobs, entropies = masked.gather(1, tokens[:, None])[:, 0], -(masked.exp() * masked).sum(dim=-1)

    def token_loss(logprobs: Tensor, entropies: Tensor | None, part: slice) -> Tensor:
        loss = (weights[part] * logprobs.exp()).sum()
        return loss if entropies is None else loss + (weights[part] * entropies.square()).sum()

    fused = fused_token_loss(
        hidden, tokens, head, token_loss, temperature=temperature, entropy=entropy, chunk_size=chunk_size, kept=sets
    )
    torch.testing.assert_close(fused.logprobs, logprobs.detach(), rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad(
        token_loss(logprobs, entropies if entropy else None, slice(None)), [hidden, head.weight], retain_graph=True
    )
    for found, truth in zip(torch.autograd.grad(fused.loss, [hidden, head.weight]), wanted, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-8, atol=1e-10)
    chunked = chunked_logprobs(
        hidden, tokens, head, temperature=temperature, chunk_size=chunk_size, entropy_gradient=True, kept=sets
    )
    assert chunked.entropies is not None
    torch.testing.assert_close(chunked.entropies.double(), entropies, rtol=1e-5, atol=1e-5)
    loss = token_loss(chunked.logprobs.double(), chunked.entropies.double() if entropy else None, slice(None))
    for found, truth in zip(torch.autograd.grad(loss, [hidden, head.weight]), wanted, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-5)


def test_a_position_that_keeps_one_token_has_logprob_0_and_no_gradient() -> None:
    hidden, head = random(2, D), LinearHead(random(V, D))
    sets = KeptSets.of_counts(torch.tensor([1, 1]), torch.tensor([4, 7]))
    out = fused_token_loss(hidden, torch.tensor([4, 7]), head, lambda logprobs, *_: -logprobs.sum(), kept=sets)
    assert out.logprobs.tolist() == [0.0, 0.0]
    assert float(torch.autograd.grad(out.loss, hidden)[0].abs().max()) == 0.0
