from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import ngrpo.sampling.choose
from ngrpo.kept_tokens import Truncation
from ngrpo.sampling.choose import SampledTokens, sample_tokens

INF = math.inf
LAST = 1.0 - 2.0**-53
"""The largest number of a stream."""


def sample(logits: Tensor, us: Tensor, *, temperature: float = 1.0, **truncation: float) -> SampledTokens:
    return sample_tokens(logits, us, temperature=temperature, truncation=Truncation(**truncation))


def oracle(logits: list[float], u: float, temperature: float, top_p: float) -> tuple[int, float]:
    """Token and logprob, one row at a time in plain Python."""
    best = max(logits)
    if temperature == 0.0:
        return logits.index(best), 0.0
    weights = [math.exp((value - best) / temperature) for value in logits]
    probs = [weight / math.fsum(weights) for weight in weights]
    order = sorted(range(len(probs)), key=lambda i: -probs[i]) if top_p < 1.0 else list(range(len(probs)))
    nucleus, mass = [], 0.0
    for token in order:
        if mass >= top_p and top_p < 1.0:
            break
        nucleus.append(token)
        mass += probs[token]
    total, cumulative = sum(probs[token] for token in nucleus), 0.0
    for token in nucleus:
        cumulative += probs[token]
        if cumulative > u * total:
            return token, math.log(probs[token] / total)
    raise AssertionError


def sampled(logits: Tensor, us: list[float], **decoding: float) -> tuple[list[int], list[float]]:
    tokens, logprobs, _ = sample(logits, torch.tensor(us, dtype=torch.float64), **decoding)
    assert tokens.dtype == torch.int64
    assert logprobs.dtype == torch.float32
    return tokens.tolist(), logprobs.tolist()


def rows(kind: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(60, 11, generator=generator) * 3.0
    if kind == "ties":
        return logits.round()
    if kind == "forbidden":
        forbidden = torch.rand(60, 11, generator=generator) < 0.5
        forbidden[:, 4] = False  # something is left in every row
        return logits.masked_fill(forbidden, -INF)
    if kind == "large":
        return logits * 1000.0
    return logits


@pytest.mark.parametrize("kind", ["random", "ties", "forbidden", "large"])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [1e-12, 0.3, 0.9, 0.999999, 1.0])
def test_equals_the_oracle(kind: str, temperature: float, top_p: float) -> None:
    logits = rows(kind, 1)
    us = [0.0, LAST, *torch.rand(58, generator=torch.Generator().manual_seed(2), dtype=torch.float64).tolist()]
    tokens, logprobs = sampled(logits, us, temperature=temperature, top_p=top_p)
    expected = [oracle(row, u, temperature, top_p) for row, u in zip(logits.tolist(), us, strict=True)]
    assert tokens == [token for token, _ in expected]
    assert logprobs == pytest.approx([logprob for _, logprob in expected], abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_raised_before_anything_is_computed(dtype: torch.dtype) -> None:
    logits = rows("random", 3).to(dtype)
    us = torch.rand(60, generator=torch.Generator().manual_seed(4), dtype=torch.float64).tolist()
    assert sampled(logits, us, temperature=0.7, top_p=0.8) == sampled(logits.double(), us, temperature=0.7, top_p=0.8)


def test_nucleus_that_reaches_top_p_exactly_is_enough() -> None:
    """Four equal tokens, top_p 0.5: two of them, the first two, at probability one half each."""
    tokens, logprobs = sampled(torch.zeros(4, 4), [0.0, 0.49, 0.5, LAST], top_p=0.5)
    assert tokens == [0, 0, 1, 1]
    assert logprobs == pytest.approx([math.log(0.5)] * 4)


def test_logprobs_are_those_of_the_renormalised_nucleus() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for u, token, prob in [(0.0, 0, 0.5 / 0.8), (0.6, 0, 0.5 / 0.8), (0.63, 1, 0.3 / 0.8), (LAST, 1, 0.3 / 0.8)]:
        tokens, logprobs = sampled(logits, [u], top_p=0.7)
        assert tokens == [token]
        assert logprobs == pytest.approx([math.log(prob)], abs=1e-6)


@pytest.mark.parametrize("top_p", [0.9, 1.0])
@pytest.mark.parametrize("u", [0.0, LAST])
def test_a_token_without_probability_is_never_drawn(top_p: float, u: float) -> None:
    logits = torch.tensor([[-INF, -INF, 1.0, -INF, 1.0, -INF], [-1e30, 0.0, -1e30, -INF, 0.0, -1e5]])
    tokens, logprobs = sampled(logits, [u, u], top_p=top_p)
    assert tokens == ([2, 1] if u == 0.0 else [4, 4])
    assert logprobs == pytest.approx([math.log(0.5)] * 2)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.95), (1.5, 0.7)])
def test_frequencies_are_the_probabilities(temperature: float, top_p: float) -> None:
    logits = torch.tensor([1.0, -0.5, 2.0, 0.3, 0.0, -INF, 1.2])
    us = torch.rand(20_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    tokens, logprobs, _ = sample(logits.expand(20_000, -1), us, temperature=temperature, top_p=top_p)
    counts = torch.bincount(tokens, minlength=7).double()
    probs = torch.zeros(7, dtype=torch.float64).index_put_((tokens,), logprobs.double().exp())
    assert probs.sum() == pytest.approx(1.0, abs=1e-6)
    seen = probs > 0
    chi_square = ((counts - 20_000 * probs)[seen] ** 2 / (20_000 * probs[seen])).sum()
    assert chi_square < 20.5  # 99.9 % point with 5 degrees of freedom


def test_a_vocabulary_of_one_and_a_batch_of_none() -> None:
    for top_p in (0.5, 1.0):
        assert sampled(torch.tensor([[3.0], [-7.0]]), [0.0, LAST], top_p=top_p) == ([0, 0], [0.0, 0.0])
        assert sampled(torch.empty(0, 5), [], top_p=top_p) == ([], [])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("top_p", [0.5, 1.0])
def test_rows_without_a_distribution_have_a_nan_logprob_and_leave_the_others_alone(
    temperature: float, top_p: float
) -> None:
    logits = torch.tensor([[0.0, math.nan, 1.0], [0.0, INF, 1.0], [-INF, -INF, -INF], [0.0, -INF, 9.0]])
    tokens, logprobs = sampled(logits, [0.5] * 4, temperature=temperature, top_p=top_p)
    assert [math.isnan(value) for value in logprobs] == [True, True, True, False]
    assert tokens[3] == 2
    assert all(0 <= token < 3 for token in tokens)


def test_a_temperature_near_zero_does_not_overflow() -> None:
    assert sampled(torch.tensor([[50.0, 49.0]]), [LAST], temperature=1e-60) == ([0], [0.0])


@pytest.mark.parametrize("top_p", [0.8, 1.0])
def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch, top_p: float) -> None:
    logits = rows("random", 6)
    us = torch.rand(60, generator=torch.Generator().manual_seed(7), dtype=torch.float64).tolist()
    whole = sampled(logits, us, top_p=top_p)
    for elements in (1, 7 * 11, 8 * 11):
        monkeypatch.setattr(ngrpo.sampling.choose, "_ELEMENTS_AT_ONCE", elements)
        assert sampled(logits, us, top_p=top_p) == whole


def test_equal_tokens_of_a_large_vocabulary_are_in_order_of_index() -> None:
    tokens, _ = sampled(torch.zeros(3, 4096), [0.0, 0.5, LAST], top_p=0.5)
    assert tokens == [0, 1024, 2047]


def one_level(logits: Tensor, us: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The inverse transform by one cumulative sum over all tokens, in float64."""
    probs = (logits.double() / temperature).softmax(dim=-1)
    cumulative = probs.cumsum(dim=-1)
    place = torch.searchsorted(cumulative, us[:, None] * cumulative[:, -1:], right=True)
    place = place.clamp(max=logits.shape[-1] - 1)
    return place[:, 0], probs.gather(-1, place).log().float()[:, 0]


LARGE = 4096
assert LARGE >= ngrpo.sampling.choose._FEWEST_TOKENS
assert 100 * LARGE >= ngrpo.sampling.choose._FEWEST_LOGITS


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("vocabulary", [LARGE, LARGE + 1, LARGE + 63, 20000])
def test_two_levels_sample_the_tokens_of_one(vocabulary: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    for temperature in (1.0, 0.6, 1.7):
        logits = torch.randn(100, vocabulary, generator=generator) * scale - 100.0
        logits[::7] = logits[::7].round()
        logits[::5, : vocabulary // 2] = -INF
        us = torch.rand(100, generator=generator, dtype=torch.float64)
        us[:2] = torch.tensor([0.0, LAST])
        tokens, logprobs, _ = sample(logits, us, temperature=temperature)
        expected, expected_logprobs = one_level(logits, us, temperature)
        assert tokens.tolist() == expected.tolist()
        assert logprobs.numpy() == pytest.approx(expected_logprobs.numpy(), abs=2e-6, rel=2e-7)


def test_two_levels_at_the_very_edge_of_a_token() -> None:
    """Numbers at the boundary of two tokens and a few ulps beside it, in a row of 4,096 equal probabilities."""
    logits = torch.zeros(100, LARGE)
    edges = [k / LARGE for k in (1, 63, 64, 65, 128, 2047, 4095)]
    for u in [number for edge in edges for number in (math.nextafter(edge, 0.0), edge, math.nextafter(edge, 1.0))]:
        us = torch.full((100,), u, dtype=torch.float64)
        assert sample_tokens(logits, us)[0].tolist() == one_level(logits, us, 1.0)[0].tolist() == [int(u * LARGE)] * 100


@pytest.mark.parametrize("value", [math.nan, INF])
def test_a_broken_row_of_a_large_vocabulary_has_no_logprob(value: float) -> None:
    logits = torch.zeros(100, LARGE)
    logits[1, 7] = value
    logits[2] = -INF
    _, logprobs, _ = sample_tokens(logits, torch.full((100,), 0.5, dtype=torch.float64))
    assert logprobs.isnan().tolist() == [False, True, True] + [False] * 97


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_sums_of_blocks_are_within_their_margin(scale: float) -> None:
    """The error that `_MARGIN` is twice of, and far above what is measured."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(20, 50_000, generator=generator) * scale
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    sums = shifted.exp()[:, :49_984].reshape(20, -1, 64).sum(dim=-1).double()
    exact = (logits.double() - logits.double().amax(dim=-1, keepdim=True)).exp()[:, :49_984]
    error = sums.cumsum(-1) - exact.reshape(20, -1, 64).sum(dim=-1).cumsum(-1)
    assert float((error.abs() / exact.sum(dim=-1, keepdim=True)).max()) < ngrpo.sampling.choose._MARGIN / 2


def test_few_rows_of_a_peaked_distribution_are_left_to_float64() -> None:
    logits = torch.randn(1000, LARGE, generator=torch.Generator().manual_seed(3)) * 4.0
    us = torch.rand(1000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    certain = ngrpo.sampling.choose._by_blocks(logits, us, 1.0)[2]
    assert certain.double().mean() > 0.98
