"""A loss of tokens' logprobs and entropies whose gradient is taken while their logits are there, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from ngrpo.argument_checks import check_above_0, check_tokens
from ngrpo.kept_tokens import KeptSets

TokenLoss = Callable[[Tensor, Tensor | None, slice], Tensor]
"""Logprobs [n], entropies [n] or None, and which of the N tokens these are, to their part [] of a sum over tokens."""

_ROWS = 512
"""Rows of logits at a time: enough to make use of each pass over the head, and over its gradient."""
_SMALL_CHUNK, _LARGE_CHUNK = 1 << 25, 320_000_000
"""Bytes: a small head has more rows at a time, up to the first; a large one fewer, so as not to exceed the second."""
_NEVER = -1e4
"""Logit, less the largest, of a token that was left out: its exponential is 0, and its product with that no NaN."""
_CACHE = 1 << 19
"""Bytes of logits that are worked on at a time on a CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """A head that needs no graph to be differentiated: scale * (hidden weight^T + bias), capped by cap * tanh(x / cap).

    `weight` is [V, D], `bias` [V] or None; no `cap` is None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """Returns the logits [..., V] of hidden states [..., D]."""
        out = linear(hidden, self.weight, self.bias)
        out = out * self.scale if self.scale != 1.0 else out
        return torch.tanh(out / self.cap) * self.cap if self.cap else out


@dataclass(frozen=True, slots=True, eq=False)
class FusedLoss:
    """`loss` [] to differentiate; `logprobs` [N] and `entropies` [N], None if not asked for, without gradient."""

    loss: Tensor
    logprobs: Tensor
    entropies: Tensor | None


def fused_token_loss(
    hidden: Tensor,
    tokens: Tensor,
    head: LinearHead,
    token_loss: TokenLoss,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    chunk_size: int | None = None,
    kept: KeptSets | None = None,
) -> FusedLoss:
    """Returns a loss that is a sum over tokens, of their logprobs and entropies as `chunked_logprobs` has them.

    The gradients of hidden states and head are computed while a chunk's logits exist, in their memory; the backward
    pass hands them on. No logits are computed twice, and one chunk of them exists at a time.

    Args:
        hidden: [N, D] hidden state before each token, of the tokens of interest only.
        tokens: [N] integer token ids below V.
        head: hidden states to logits.
        token_loss: called once per chunk; differentiable in the logprobs and, where it uses them, in the entropies.
        temperature: above 0; logits are raised to float32 and divided by it.
        entropy: whether `token_loss` is given entropies.
        chunk_size: rows of logits at a time, at least 1; None: by their size in bytes.
        kept: what truncated sampling kept at the N positions, each token among it; None for all.

    Returns:
        The loss, which can be differentiated once, in `hidden`, `head.weight` and `head.bias`; and its ingredients.

    Raises:
        ConfigError: for shapes that do not fit, or a temperature or chunk size out of range.

    Examples:
        >>> head = LinearHead(torch.zeros(5, 3, requires_grad=True))
        >>> out = fused_token_loss(torch.ones(2, 3), torch.tensor([0, 4]), head, lambda logprobs, *_: -logprobs.sum())
        >>> out.loss  # 2 log 5
        tensor(3.2189, grad_fn=<_FusedTokenLossBackward>)
    """
    rows = _rows_at_a_time(head.weight) if chunk_size is None else chunk_size
    check_tokens(hidden, tokens, rows)
    check_above_0("temperature", temperature)
    task = _Task(tokens.long(), head, token_loss, temperature, entropy, rows, torch.is_grad_enabled(), kept)
    loss, logprobs, entropies = _FusedTokenLoss.apply(hidden, head.weight, head.bias, task)  # type: ignore[no-untyped-call]
    return FusedLoss(loss, logprobs, entropies if entropy else None)


def _rows_at_a_time(weight: Tensor) -> int:
    of_row = len(weight) * max(4, weight.element_size())
    return max(1, min(max(_ROWS, _SMALL_CHUNK // of_row), _LARGE_CHUNK // of_row))


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What `_FusedTokenLoss` needs besides the tensors that get a gradient."""

    tokens: Tensor
    head: LinearHead
    token_loss: TokenLoss
    temperature: float
    entropy: bool
    rows: int
    grad: bool
    kept: KeptSets | None


class _FusedTokenLoss(torch.autograd.Function):
    """Hidden states [N, D], weight [V, D], bias [V] or None, and a task to loss [], logprobs [N], entropies [N]."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, task: _Task
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        inputs = [None if x is None else x.to(dtype) for x in (hidden, weight, bias)]
        gradients = [
            torch.empty_like(x) if needed and task.grad and x is not None else None
            for x, needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        ]
        with torch.autocast(device, enabled=False):
            found = _Sweep(task, inputs, gradients).run()
        ctx.gradients = gradients
        ctx.mark_non_differentiable(*found[1:])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("a fused loss can be differentiated only once")
        if float(loss) != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(loss)
        return (*gradients, None)


class _Rows(NamedTuple):
    """Of each row of a chunk, [n, 1]: largest logit, sum of exponentials less it, logprob and entropy (or empty)."""

    top: Tensor
    total: Tensor
    logprob: Tensor
    entropy: Tensor


class _Sweep:
    """One pass over all tokens, a chunk of logits at a time, in one buffer.

    Args:
        task: tokens, loss and settings.
        inputs: hidden states, weight and bias in the computing precision.
        gradients: where the gradient of each goes, None where it needs none.
    """

    def __init__(self, task: _Task, inputs: list[Any], gradients: list[Tensor | None]) -> None:
        self.task, self.gradients = task, gradients
        self.hidden, self.weight, self.bias = inputs
        self.differentiate = any(gradient is not None for gradient in gradients)
        self.keeps_logits = task.entropy or bool(self.differentiate and task.head.cap)
        self.factor = task.head.scale / task.temperature
        self.precise = torch.promote_types(self.hidden.dtype, torch.float32)

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns loss [], logprobs [N] and entropies [N]; fills the gradients."""
        task, count = self.task, len(self.task.tokens)
        options: dict[str, Any] = {"dtype": self.precise, "device": self.hidden.device}
        loss = torch.zeros((), **options)
        logprobs, entropies = torch.empty(count, **options), torch.empty(count if task.entropy else 0, **options)
        buffer = self.hidden.new_empty(min(task.rows, count), len(self.weight))
        for gradient in self.gradients:
            if gradient is not None and not count:
                gradient.zero_()
        for start in range(0, count, task.rows):
            part = slice(start, min(start + task.rows, count))
            z, tokens = self._head_output(part, buffer), task.tokens[part, None]
            row = self._read(z, tokens, part)
            logprobs[part], entropies[part] = row.logprob[:, 0], row.entropy[:, 0]
            value, slopes = self._token_loss(row, part)
            loss += value
            if self.differentiate:
                self._to_gradient(z, tokens, row, slopes)
                self._add_gradient(z.to(self.hidden.dtype), part)
        return loss, logprobs, entropies

    def _head_output(self, part: slice, buffer: Tensor) -> Tensor:
        """Returns the head's output [n, V] before scale and cap, in at least float32; in the buffer where it can be."""
        z, hidden = buffer[: part.stop - part.start], self.hidden[part]
        if self.bias is None:
            torch.mm(hidden, self.weight.t(), out=z)
        else:
            torch.addmm(self.bias, hidden, self.weight.t(), out=z)
        return z.to(self.precise)

    def _blocks(self, z: Tensor) -> Iterator[slice]:
        """Yields the rows of a chunk that are worked on at a time: on a CPU as many as its cache holds."""
        rows = len(z) if z.device.type != "cpu" else max(1, _CACHE // (z.shape[1] * z.element_size()))
        for start in range(0, len(z), rows):
            yield slice(start, start + rows)

    def _read(self, z: Tensor, tokens: Tensor, part: slice) -> _Rows:
        """Returns what the rows of a head's output [n, V] come to, with the logprobs of tokens [n, 1].

        What is left in `z`: logits less the largest of their row where these are needed again, else their exponentials.
        """
        head, blocks = self.task.head, []
        left_out = None if self.task.kept is None else self.task.kept.left_out(part, z.shape[1])
        for block in self._blocks(z):
            x = z[block]
            if head.cap:
                x.mul_(head.scale / head.cap).tanh_().mul_(head.cap / self.task.temperature)
            elif self.factor != 1.0:
                x.mul_(self.factor)
            if left_out is not None:
                x.masked_fill_(left_out[block], -torch.inf)
            top = x.amax(dim=1, keepdim=True)
            x.sub_(top)
            if left_out is not None:
                x.masked_fill_(left_out[block], _NEVER)
            chosen = x.gather(1, tokens[block])
            p = x.exp() if self.keeps_logits else x.exp_()
            total = p.sum(dim=1, keepdim=True)
            log_total, entropy = total.log(), total[:0]
            if self.task.entropy:
                entropy = log_total - p.mul_(x).sum(dim=1, keepdim=True) / total
            blocks.append(_Rows(top, total, chosen.sub_(log_total), entropy))
        return _Rows(*map(torch.cat, zip(*blocks, strict=True)))

    def _token_loss(self, row: _Rows, part: slice) -> tuple[Tensor, list[Tensor]]:
        """Returns the loss [] of a chunk and its derivatives [n, 1] by logprob and entropy."""
        with torch.set_grad_enabled(self.differentiate):
            inputs = [x[:, 0].requires_grad_(self.differentiate) for x in (row.logprob, row.entropy)]
            loss = self.task.token_loss(inputs[0], inputs[1] if self.task.entropy else None, part)
        if not loss.requires_grad:
            return loss, [torch.zeros_like(x) for x in (row.logprob, row.entropy)]
        found = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        return loss.detach(), [x[:, None] for x in found]

    def _to_gradient(self, z: Tensor, tokens: Tensor, row: _Rows, slopes: list[Tensor]) -> None:
        """Turns what `_read` left in `z` [n, V] into the loss's gradient by the head's output.

        With p = exponential / total, it is g (1[token] - p) - e p (log p + entropy), g and e being the slopes.
        """
        by_logprob, by_entropy = (slope * self.factor for slope in slopes)
        constant, of_logit, cap = -by_logprob / row.total, by_entropy, self.task.head.cap
        if self.task.entropy:
            of_logit = -by_entropy / row.total
            constant = constant - of_logit * (row.total.log() - row.entropy)
        for block in self._blocks(z):
            x = z[block]
            # The slope of the cap at each logit: 1 - tanh^2.
            bend = x.add(row.top[block]).mul_(self.task.temperature / cap).square_().neg_().add_(1.0) if cap else None
            if not self.keeps_logits:
                x.mul_(constant[block])
            elif self.task.entropy:
                p = x.exp()
                x.mul_(of_logit[block]).add_(constant[block]).mul_(p)
            else:
                x.exp_().mul_(constant[block])
            x.scatter_add_(1, tokens[block], by_logprob[block])
            if bend is not None:
                x.mul_(bend)

    def _add_gradient(self, z: Tensor, part: slice) -> None:
        """Adds a chunk's part to the gradients, given that of the head's output [n, V] in the computing precision."""
        by_hidden, by_weight, by_bias = self.gradients
        keep = 0.0 if part.start == 0 else 1.0  # what the gradients hold before the first chunk is not read
        if by_hidden is not None:
            by_hidden[part] = z @ self.weight
        if by_weight is not None and by_weight.dtype == z.dtype:
            by_weight.addmm_(z.t(), self.hidden[part], beta=keep)
        elif by_weight is not None:
            of_chunk = z.t() @ self.hidden[part]
            by_weight.add_(of_chunk) if keep else by_weight.copy_(of_chunk)
        if by_bias is not None:
            of_chunk = z.sum(dim=0)
            by_bias.add_(of_chunk) if keep else by_bias.copy_(of_chunk)
