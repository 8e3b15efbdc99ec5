"""Time and memory of a token loss over a large vocabulary with its gradient: ours beside plain torch.

    OMP_NUM_THREADS=1 python benchmarks/logprobs.py [--repeats 3] [--vocabulary 151936] [--width 896] [--tokens 4096]

Plain is log_softmax of all logits. Both compute the loss of PPO's form at temperature 1 and the gradients of hidden
states and head, each in a process of its own with one thread; "with entropy" adds an entropy bonus to ours. Memory is
the peak above what weights and hidden states take before; time is user time. Needs 9 GB at the default shape.
"""

from __future__ import annotations

from typing import Any

from paired import Work, in_turns, memory, parser, ratio, shown, user


def made(contender: str, vocabulary: int, width: int, tokens: int) -> Work:
    import torch

    from ngrpo.fused_loss import LinearHead, fused_token_loss

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).requires_grad_()
    weight = torch.empty(vocabulary, width).normal_(0.0, 0.02, generator=generator).requires_grad_()
    ids = torch.randint(vocabulary, (tokens,), generator=generator)
    advantages = torch.randn(tokens, generator=generator)
    old = torch.full((tokens,), -12.0)

    def token_loss(logprobs: Any, entropies: Any, part: slice) -> Any:
        losses = -advantages[part] * (logprobs - old[part]).clamp(-20, 20).exp()
        return (losses if entropies is None else losses - 0.001 * entropies).sum() / tokens

    def plain() -> float:
        logprobs = torch.log_softmax(hidden @ weight.t(), dim=-1).gather(1, ids[:, None])[:, 0]
        loss = token_loss(logprobs, None, slice(None))
        loss.backward()
        return float(loss.detach())

    def ours() -> float:
        loss = fused_token_loss(hidden, ids, LinearHead(weight), token_loss, entropy=contender == "entropy").loss
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def work() -> dict[str, float]:
        hidden.grad = weight.grad = None
        loss = (plain if contender == "plain" else ours)()
        assert weight.grad is not None
        assert hidden.grad is not None
        return {"loss": loss, "gradient": float(weight.grad.norm() + hidden.grad.norm())}

    return work


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--vocabulary", type=int, default=151_936)
    options.add_argument("--width", type=int, default=896)
    options.add_argument("--tokens", type=int, default=4096)
    given = options.parse_args()
    shape = given.vocabulary, given.width, given.tokens
    costs = in_turns({name: (made, name, *shape) for name in ("plain", "ours", "entropy")}, given.repeats, warm=0)
    plain, ours, entropy = costs.values()
    for a, b in zip(plain, ours, strict=True):
        assert abs(a.facts["loss"] - b.facts["loss"]) <= 1e-4 * abs(a.facts["loss"]), (a.facts, b.facts)
        assert abs(a.facts["gradient"] / b.facts["gradient"] - 1) < 1e-4, (a.facts, b.facts)
    result = {
        "time_of_plain": ratio(ours, plain, user),
        "time_of_plain_with_entropy": ratio(entropy, plain, user),
        "plain_user_seconds": min(map(user, plain)),
        "plain_megabytes": max(map(memory, plain)) / 1e6,
        "megabytes": max(map(memory, ours)) / 1e6,
        "megabytes_with_entropy": max(map(memory, entropy)) / 1e6,
    }
    shown(result, as_json=given.json)


if __name__ == "__main__":
    main()
