from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ngrpo.errors import ConfigError
from ngrpo.logprobs import chunked_logprobs, logprobs_of_logits

N, D, V = 13, 5, 11


def case(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=generator).to(dtype).requires_grad_()
    head = nn.Linear(D, V, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(V, D, generator=generator))
        head.bias.copy_(torch.randn(V, generator=generator))
    return hidden, torch.randint(V, (N,), generator=generator), head


def oracle(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[list[float], list[float]]:
    logprobs, entropies = [], []
    for row, token in zip(logits.tolist(), tokens.tolist(), strict=True):
        total = math.fsum(math.exp(x / temperature) for x in row)
        log_probs = [x / temperature - math.log(total) for x in row]
        logprobs.append(log_probs[token])
        entropies.append(-math.fsum(math.exp(x) * x for x in log_probs))
    return logprobs, entropies


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("chunk_size", [1, 4, 13, 1024])
@pytest.mark.parametrize("grad", [True, False])
def test_agrees_with_the_slow_oracle(temperature: float, chunk_size: int, grad: bool) -> None:
    hidden, tokens, head = case()
    with torch.set_grad_enabled(grad):
        out = chunked_logprobs(hidden, tokens, head, temperature=temperature, chunk_size=chunk_size)
    logprobs, entropies = oracle(head(hidden).double(), tokens, temperature)
    assert out.entropies is not None
    torch.testing.assert_close(out.logprobs, torch.tensor(logprobs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.entropies, torch.tensor(entropies), rtol=1e-5, atol=1e-5)
    of_logits = logprobs_of_logits(head(hidden), tokens, temperature)
    torch.testing.assert_close(of_logits, torch.tensor(logprobs), rtol=1e-5, atol=1e-5)
    assert out.logprobs.requires_grad == grad
    assert not out.entropies.requires_grad


@pytest.mark.parametrize("chunk_size", [1, 4, 13])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.7])
def test_gradients_are_those_of_the_full_softmax(chunk_size: int, entropy_weight: float) -> None:
    hidden, tokens, head = case()
    weights = torch.linspace(-1, 1, N)
    wanted = [hidden, head.weight, head.bias]

    full = torch.log_softmax(head(hidden) / 0.8, dim=-1)
    loss = (weights * full[torch.arange(N), tokens]).sum() - entropy_weight * (full.exp() * full).sum()
    expected = torch.autograd.grad(loss, wanted)

    out = chunked_logprobs(
        hidden,
        tokens,
        head,
        temperature=0.8,
        chunk_size=chunk_size,
        entropy=entropy_weight > 0,
        entropy_gradient=True,
    )
    loss = (weights * out.logprobs).sum()
    if out.entropies is not None:
        loss = loss + entropy_weight * out.entropies.sum()
    for gradient, truth in zip(torch.autograd.grad(loss, wanted), expected, strict=True):
        torch.testing.assert_close(gradient, truth, rtol=1e-4, atol=1e-5)


def test_a_head_alone_can_be_trained() -> None:
    hidden, tokens, head = case()
    chunked_logprobs(hidden.detach(), tokens, head, chunk_size=4).logprobs.sum().backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


def test_no_more_than_a_chunk_of_logits_is_seen_or_kept() -> None:
    hidden, tokens, head = case()
    seen: list[int] = []

    def recording_head(rows: Tensor) -> Tensor:
        seen.append(len(rows))
        return head(rows)

    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        out = chunked_logprobs(hidden, tokens, recording_head, chunk_size=4)
    assert seen == [4, 4, 4, 1]
    # Between the passes no logits are alive: chunks of hidden states and tokens are all there is.
    assert max(saved, default=0) < 4 * V
    out.logprobs.sum().backward()
    assert seen == [4, 4, 4, 1] * 2 or sorted(seen) == sorted([4, 4, 4, 1] * 2)


def test_softcapping_heads_and_forbidden_tokens() -> None:
    hidden, tokens, head = case()
    tokens = tokens.clamp(max=V - 2)

    def capped(rows: Tensor) -> Tensor:
        logits = 3 * torch.tanh(head(rows) / 3)
        return logits.masked_fill(torch.arange(V) == V - 1, -math.inf)

    out = chunked_logprobs(hidden, tokens, capped, chunk_size=5, entropy_gradient=True)
    assert out.entropies is not None
    _, entropies = oracle(capped(hidden)[:, :-1].double(), tokens, 1.0)
    torch.testing.assert_close(out.entropies, torch.tensor(entropies), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(out.entropies.sum() + out.logprobs.sum(), hidden)
    assert gradient.isfinite().all()


def test_half_precision_logits_are_raised_to_float32_before_the_softmax() -> None:
    hidden, tokens, head = case(torch.bfloat16)
    out = chunked_logprobs(hidden, tokens, head, temperature=0.7)
    assert out.logprobs.dtype == torch.float32
    logprobs, _ = oracle(head(hidden).double(), tokens, 0.7)
    torch.testing.assert_close(out.logprobs, torch.tensor(logprobs), rtol=1e-5, atol=1e-5)


def test_entropies_only_when_asked_for() -> None:
    hidden, tokens, head = case()
    assert chunked_logprobs(hidden, tokens, head, entropy=False).entropies is None


def test_uniform_and_certain_distributions() -> None:
    tokens = torch.tensor([0])
    uniform = chunked_logprobs(torch.zeros(1, 4), tokens, lambda rows: rows)
    assert uniform.entropies is not None
    assert uniform.entropies.item() == pytest.approx(math.log(4))
    certain = chunked_logprobs(torch.tensor([[1e4, 0.0, 0.0]]), tokens, lambda rows: rows)
    assert certain.entropies is not None
    assert (certain.logprobs.item(), certain.entropies.item()) == (0, 0)


def test_no_tokens_at_all() -> None:
    _, _, head = case()
    out = chunked_logprobs(torch.zeros(0, D, requires_grad=True), torch.zeros(0, dtype=torch.long), head)
    assert out.entropies is not None
    assert (out.logprobs.shape, out.entropies.shape) == ((0,), (0,))
    out.logprobs.sum().backward()


def test_logits_of_any_rank() -> None:
    logits, tokens = torch.randn(2, 3, V), torch.zeros(2, 3, dtype=torch.int32)
    torch.testing.assert_close(logprobs_of_logits(logits, tokens), logits.log_softmax(-1)[..., 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(2, 3, 4)}, r"\[2, 3, 4\] and \[2\]; allowed are"),
        ({"tokens": torch.zeros(3, dtype=torch.long)}, r"\[2, 4\] and \[3\]"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "hidden": torch.zeros(2, 4),
        "tokens": torch.zeros(2, dtype=torch.long),
        "head": lambda rows: rows,
    }
    with pytest.raises(ConfigError, match=message) as caught:
        chunked_logprobs(**(arguments | changes))
    assert "\n" not in str(caught.value)


def test_logits_and_tokens_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"tokens have shape \[3\]; allowed .* \[2\]"):
        logprobs_of_logits(torch.zeros(2, 4), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ConfigError, match="temperature is -1"):
        logprobs_of_logits(torch.zeros(2, 4), torch.zeros(2, dtype=torch.long), temperature=-1)
