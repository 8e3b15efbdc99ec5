"""The fused loss against the full softmax, differentiated by torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.fused_loss import LinearHead, fused_token_loss

N, D, V = 13, 5, 11
GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(N, generator=GENERATOR, dtype=torch.float64)


def random(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64).to(dtype).requires_grad_()


def token_loss(logprobs: Tensor, entropies: Tensor | None, part: slice) -> Tensor:
    """Not linear in anything, so that a wrong slope of any token shows."""
    loss = (WEIGHTS[part] * logprobs.exp()).sum()
    return loss if entropies is None else loss + (WEIGHTS[part] * entropies.square()).sum()


def full(hidden: Tensor, tokens: Tensor, head: LinearHead, temperature: float) -> tuple[Tensor, Tensor]:
    log_probs = torch.log_softmax(head(hidden).double() / temperature, dim=-1)
    return log_probs.gather(1, tokens[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(dim=-1)


@pytest.mark.parametrize("chunk_size", [1, 4, 13, None])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize(("temperature", "scale", "cap"), [(1.0, 1.0, None), (0.7, 1.3, None), (0.7, 1.3, 2.0)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_loss_and_gradients_are_those_of_the_full_softmax(
    chunk_size: int | None, entropy: bool, temperature: float, scale: float, cap: float | None, has_bias: bool
) -> None:
    hidden, tokens = random(N, D), torch.randint(V, (N,), generator=GENERATOR)
    head = LinearHead(random(V, D), random(V) if has_bias else None, scale, cap)
    out = fused_token_loss(
        hidden, tokens, head, token_loss, temperature=temperature, entropy=entropy, chunk_size=chunk_size
    )
    logprobs, entropies = full(hidden, tokens, head, temperature)
    loss = token_loss(logprobs, entropies if entropy else None, slice(None))
    torch.testing.assert_close(out.loss, loss, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(out.logprobs, logprobs.detach(), rtol=1e-10, atol=1e-10)
    assert (out.entropies is not None) == entropy
    if out.entropies is not None:
        torch.testing.assert_close(out.entropies, entropies.detach(), rtol=1e-10, atol=1e-10)
        assert not out.entropies.requires_grad
    inputs = [hidden, head.weight, *([] if head.bias is None else [head.bias])]
    found, wanted = torch.autograd.grad(3 * out.loss, inputs), torch.autograd.grad(3 * loss, inputs)
    for gradient, truth in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, truth, rtol=1e-8, atol=1e-10)


def test_float32_is_near_float64() -> None:
    hidden, tokens, weight = random(N, D, dtype=torch.float32), torch.arange(N) % V, random(V, D, dtype=torch.float32)
    out = fused_token_loss(hidden, tokens, LinearHead(weight), token_loss, entropy=True, chunk_size=4)
    loss = token_loss(*full(hidden.double(), tokens, LinearHead(weight.double()), 1.0), slice(None))
    torch.testing.assert_close(out.loss.double(), loss, rtol=1e-6, atol=1e-6)
    for found, truth in zip(
        torch.autograd.grad(out.loss, [hidden, weight]), torch.autograd.grad(loss, [hidden, weight]), strict=True
    ):
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)


def test_under_autocast_products_are_bfloat16_and_sums_float32() -> None:
    hidden, tokens, weight = random(N, D, dtype=torch.float32), torch.arange(N) % V, random(V, D, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fused_token_loss(hidden, tokens, LinearHead(weight), token_loss, entropy=True, chunk_size=4)
    halves = LinearHead(weight.bfloat16())
    torch.testing.assert_close(out.logprobs.double(), full(hidden.bfloat16(), tokens, halves, 1.0)[0].detach())
    gradients = torch.autograd.grad(out.loss, [hidden, weight])
    assert {out.loss.dtype, *(gradient.dtype for gradient in gradients)} == {torch.float32}
    truth = torch.autograd.grad(
        token_loss(*full(hidden, tokens, LinearHead(weight), 1.0), slice(None)), [hidden, weight]
    )
    for gradient, wanted in zip(gradients, truth, strict=True):
        assert float(torch.cosine_similarity(gradient.flatten(), wanted.flatten(), dim=0)) > 0.999


def test_only_what_needs_a_gradient_gets_one() -> None:
    hidden, tokens, weight = random(N, D), torch.arange(N) % V, random(V, D)
    frozen = fused_token_loss(hidden, tokens, LinearHead(weight.detach()), token_loss, chunk_size=4).loss
    alone = fused_token_loss(hidden.detach(), tokens, LinearHead(weight), token_loss, chunk_size=4).loss
    both = fused_token_loss(hidden, tokens, LinearHead(weight), token_loss, chunk_size=4).loss
    wanted = torch.autograd.grad(both, [hidden, weight])
    assert torch.equal(torch.autograd.grad(frozen, hidden)[0], wanted[0])
    assert torch.equal(torch.autograd.grad(alone, weight)[0], wanted[1])
    with torch.no_grad():
        plain = fused_token_loss(hidden, tokens, LinearHead(weight), token_loss, chunk_size=4)
    assert not plain.loss.requires_grad
    assert torch.equal(plain.loss, both.detach())


def test_no_tokens_and_certain_tokens() -> None:
    weight = random(V, D)
    nothing = fused_token_loss(random(0, D), torch.zeros(0, dtype=torch.long), LinearHead(weight), token_loss)
    nothing.loss.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert (float(nothing.loss.detach()), float(weight.grad.abs().sum())) == (0.0, 0.0)
    certain = fused_token_loss(
        torch.tensor([[1e4]]), torch.tensor([0]), LinearHead(torch.tensor([[1.0], [-1.0]])), token_loss, entropy=True
    )
    assert certain.entropies is not None
    assert (certain.logprobs.item(), certain.entropies.item()) == (0.0, 0.0)


def test_it_can_be_differentiated_once() -> None:
    weight = random(V, D)
    loss = fused_token_loss(random(N, D), torch.arange(N) % V, LinearHead(weight), token_loss).loss
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="only once"):
        loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": torch.zeros(3, dtype=torch.long)}, r"\[2, 4\] and \[3\]"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "hidden": torch.zeros(2, 4),
        "tokens": torch.zeros(2, dtype=torch.long),
        "head": LinearHead(torch.zeros(3, 4)),
        "token_loss": token_loss,
    }
    with pytest.raises(ConfigError, match=message):
        fused_token_loss(**(arguments | changes))  # type: ignore[arg-type]
