from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ngrpo.config import ModelSettings
from ngrpo.errors import ConfigError, DataError, TrainingError
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.sampling import Decoding, Prompt, cached_forward, transformers_sampler
from ngrpo.sampling.cached_forward import CachedReader
from ngrpo.sampling.choose import sample_tokens
from ngrpo.sampling.streams import stream_key, uniforms
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.types import Completion, Problem

from .conftest import SHAPE

CPU = torch.device("cpu")
SHORT = Decoding(max_completion_tokens=8)
GPT2_SHAPE = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": [1, 5, 9]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": SHAPE,
    "qwen3": SHAPE,
    "llama": SHAPE,
    "mistral": {**SHAPE, "sliding_window": 4},
    "gemma2": {**SHAPE, "sliding_window": 4, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 4.0},
    "gemma3_text": {**SHAPE, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    "mixtral": {**SHAPE, "num_local_experts": 4},
    "qwen2_moe": {**SHAPE, **EXPERTS, "shared_expert_intermediate_size": 16},
    "cohere": {**SHAPE, "logit_scale": 0.25},
    "granite": {**SHAPE, "logits_scaling": 8.0},
    "gpt2": GPT2_SHAPE,
    "gptj": {**GPT2_SHAPE, "rotary_dim": 4},
    "gpt_neox": SHAPE,
    "opt": {**SHAPE, "ffn_dim": 24, "word_embed_proj_dim": 8},
    "bloom": {"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 4, "eos_token_id": [1, 5, 9]},
    "qwen3_next": {
        **SHAPE,
        **EXPERTS,
        "shared_expert_intermediate_size": 16,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 4,
        "linear_value_head_dim": 4,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "lfm2": {**SHAPE, "layer_types": ["conv", "full_attention"]},
}
REFUSED: dict[str, dict[str, Any]] = {
    "mamba": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4},
    "rwkv": {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16},
    "xlnet": {"vocab_size": 40, "d_model": 16, "n_layer": 1, "n_head": 4, "d_inner": 24},
    "openai-gpt": {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 64},
    "minimax": {
        **SHAPE,
        "num_local_experts": 2,
        "block_size": 4,
        "layer_types": ["linear_attention", "full_attention"],
    },
}


class WordTokenizer:
    """Token 7 is 'w7'; enough of a tokenizer for sampling from a model without one."""

    eos_token_id = 1

    def batch_decode(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [" ".join(f"w{token}" for token in row) for row in rows]


def random_lm(family: str, shape: dict[str, Any]) -> LanguageModel:
    """A random model whose distributions are far from uniform, so that a wrong position or mask shows."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**shape)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.35)
    return LanguageModel(model, WordTokenizer(), CPU, torch.float32)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return random_lm("qwen2", FAMILIES["qwen2"])


def prompts_of(*rows: Sequence[int]) -> list[Prompt]:
    return [Prompt(Problem(f"p{row}", "", ""), np.array(row, dtype=np.int64)) for row in rows]


PROMPTS = prompts_of([3], [9, 10, 11, 12, 13, 14, 15, 16, 17], [20, 21, 22], [7, 8, 2, 30])


def sample_with(
    lm: LanguageModel, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, **settings: int
) -> list[list[Completion]]:
    return TransformersSampler(lm, **settings).sample(prompts, samples, decoding, seed=1, round_name="step 2")


def naive(lm: LanguageModel, prompt: Prompt, sample: int, decoding: Decoding) -> Completion:
    """One completion without cache, padding or batch: the whole text is read again for each token."""
    key = np.array([stream_key(1, "step 2", prompt.problem.id, sample)], dtype=np.uint64)
    tokens, logprobs = prompt.tokens.tolist(), []
    for position in range(decoding.max_completion_tokens):
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[:, -1]
        number = torch.from_numpy(uniforms(key, position))
        token, logprob, _ = sample_tokens(
            logits, number, temperature=decoding.temperature, truncation=decoding.truncation
        )
        tokens.append(int(token))
        logprobs.append(float(logprob))
        if tokens[-1] in lm.stop_tokens:
            break
    written = np.array(tokens[len(prompt.tokens) :])
    stopped = int(written[-1]) in lm.stop_tokens
    text = lm.tokenizer.batch_decode([written[: len(written) - stopped].tolist()], skip_special_tokens=True)[0]
    return Completion(text, written, np.array(logprobs, dtype=np.float32), "stop" if stopped else "length")


def assert_same(ours: Completion, theirs: Completion) -> None:
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5, rel=1e-5)
    assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
    assert (ours.tokens.dtype, ours.logprobs.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_naive_sampler(family: str) -> None:
    lm = random_lm(family, FAMILIES[family])
    lm.check_head()
    sampled = sample_with(lm, PROMPTS, range(4), SHORT)
    assert {c.finish_reason for row in sampled for c in row} == {"stop", "length"}
    for prompt, row in zip(PROMPTS, sampled, strict=True):
        for sample, completion in enumerate(row):
            assert_same(completion, naive(lm, prompt, sample, SHORT))


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_cannot_be_read_with_a_cache_is_refused(family: str) -> None:
    with pytest.raises(ConfigError, match=f"^models of type '{family}' cannot be sampled from: .*$"):
        TransformersSampler(random_lm(family, REFUSED[family]))


@pytest.mark.parametrize("decoding", [Decoding(0.7, 0.8, 6), Decoding(0.0, 1.0, 6), Decoding(1.3, 0.5, 1)])
def test_decoding_equals_the_naive_sampler(lm: LanguageModel, decoding: Decoding) -> None:
    for prompt, row in zip(PROMPTS, sample_with(lm, PROMPTS, range(4), decoding), strict=True):
        for sample, completion in enumerate(row):
            assert_same(completion, naive(lm, prompt, sample, decoding))
            assert len(completion.tokens) <= decoding.max_completion_tokens


def test_a_completion_does_not_depend_on_its_batch(lm: LanguageModel) -> None:
    whole = sample_with(lm, PROMPTS, range(8), SHORT)
    for max_sequences in (1, 3, 8, 11, 1000):
        for ours, theirs in zip(
            sample_with(lm, PROMPTS, range(8), SHORT, max_sequences=max_sequences), whole, strict=True
        ):
            for a, b in zip(ours, theirs, strict=True):
                assert_same(a, b)
    backwards = sample_with(lm, PROMPTS[::-1], range(8), SHORT)[::-1]
    alone = [sample_with(lm, [prompt], range(8), SHORT)[0] for prompt in PROMPTS]
    for other in (backwards, alone):
        for ours, theirs in zip(other, whole, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert_same(a, b)
    some = sample_with(lm, PROMPTS[1:3], [3, 5], SHORT)
    for ours, theirs in zip(some, whole[1:3], strict=True):
        assert_same(ours[0], theirs[3])
        assert_same(ours[1], theirs[5])


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Several threads share out the rows of a matrix product by their number.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("lengths", [[22] * 8, [22, 20, 21, 19, 22, 21, 20, 22]])
def test_a_half_of_a_batch_has_the_same_logprobs_to_the_bit(countdown_model: LanguageModel, lengths: list[int]) -> None:
    rng = np.random.default_rng(0)
    prompts = prompts_of(*(rng.integers(2, 60, size=length).tolist() for length in lengths))
    whole = sample_with(countdown_model, prompts, range(4), SHORT)
    halves = [sample_with(countdown_model, half, range(4), SHORT) for half in (prompts[:4], prompts[4:])]
    for together, alone in zip(itertools.chain(*whole), itertools.chain(*halves[0], *halves[1]), strict=True):
        assert together.tokens.tolist() == alone.tokens.tolist()
        assert together.logprobs.tobytes() == alone.logprobs.tobytes()


def test_packed_weights_sample_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = random_lm("llama", {**SHAPE, "vocab_size": 4096, "hidden_size": 64, "head_dim": 16})
    prompts = prompts_of([3, 4], [5, 6, 7])
    with monkeypatch.context() as patch:
        patch.setattr(transformers_sampler, "_FEWEST_TOKENS", 100)
        wanted = sample_with(lm, prompts, range(8), Decoding(max_completion_tokens=12))
    ours = sample_with(lm, prompts, range(8), Decoding(max_completion_tokens=12))
    for a, b in zip(itertools.chain(*ours), itertools.chain(*wanted), strict=True):
        assert_same(a, b)
    assert not any("forward" in vars(module) for module in lm.plain.modules())


def test_seed_round_problem_and_sample_each_change_the_draws(lm: LanguageModel) -> None:
    sampler, decoding = TransformersSampler(lm), Decoding(max_completion_tokens=8, temperature=3.0)
    renamed = [replace(prompt, problem=Problem("other", "", "")) for prompt in PROMPTS]
    samples = [
        sampler.sample(PROMPTS, range(4), decoding, seed=1, round_name="step 2"),
        sampler.sample(PROMPTS, range(4), decoding, seed=2, round_name="step 2"),
        sampler.sample(PROMPTS, range(4), decoding, seed=1, round_name="step 3"),
        sampler.sample(renamed, range(4), decoding, seed=1, round_name="step 2"),
        sampler.sample(PROMPTS, range(4, 8), decoding, seed=1, round_name="step 2"),
    ]
    shown = [str([[c.tokens.tolist() for c in row] for row in sampled]) for sampled in samples]
    assert len(set(shown)) == len(samples)


def test_nothing_asked_for_nothing_drawn(lm: LanguageModel) -> None:
    assert sample_with(lm, [], range(4), SHORT) == []
    assert sample_with(lm, PROMPTS, [], SHORT) == [[], [], [], []]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_logprobs_are_those_of_the_models_own_pass(lm: LanguageModel, temperature: float) -> None:
    for prompt, row in zip(PROMPTS, sample_with(lm, PROMPTS, range(4), Decoding(temperature, 1.0, 8)), strict=True):
        for completion in row:
            text = torch.from_numpy(np.concatenate([prompt.tokens, completion.tokens]))[None]
            with torch.no_grad():
                logits = lm.model(input_ids=text).logits[0, len(prompt.tokens) - 1 : -1]
            expected = (logits / temperature).log_softmax(-1)[range(len(completion.tokens)), completion.tokens]
            assert completion.logprobs == pytest.approx(expected.numpy(), abs=1e-4)


def test_stop_tokens_of_config_and_tokenizer_end_a_completion(lm: LanguageModel) -> None:
    assert lm.stop_tokens == {1, 5, 9}
    completions = [c for row in sample_with(lm, PROMPTS, range(32), SHORT) for c in row]
    last = {int(c.tokens[-1]) for c in completions if c.finish_reason == "stop"}
    assert last == {1, 5, 9}
    for completion in completions:
        stops = np.isin(completion.tokens, [1, 5, 9])
        assert not stops[:-1].any()
        assert stops[-1] == (completion.finish_reason == "stop")
        assert len(completion.text.split()) == len(completion.tokens) - stops[-1]
        if not stops[-1]:
            assert len(completion.tokens) == 8


def test_a_model_without_stop_tokens_writes_to_the_limit() -> None:
    lm = random_lm("gpt2", {**GPT2_SHAPE, "eos_token_id": None, "bos_token_id": None})
    lm.tokenizer.eos_token_id = None
    assert {len(c.tokens) for row in sample_with(lm, PROMPTS, range(4), SHORT) for c in row} == {8}


def test_buffers_that_grow_change_nothing(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Decoding(max_completion_tokens=23)
    whole = sample_with(lm, PROMPTS, range(8), decoding)
    monkeypatch.setattr("ngrpo.sampling.transformers_sampler.FIRST_WIDTH", 2)
    monkeypatch.setattr(cached_forward, "BLOCK_TOKENS", 2)
    grown = sample_with(lm, PROMPTS, range(8), decoding)
    for before, after in zip(itertools.chain(*whole), itertools.chain(*grown), strict=True):
        assert before.tokens.tolist() == after.tokens.tolist()
        assert before.logprobs.tobytes() == after.logprobs.tobytes()
        assert (before.text, before.finish_reason) == (after.text, after.finish_reason)


def test_a_high_limit_allocates_nothing(lm: LanguageModel) -> None:
    limit = Decoding(max_completion_tokens=10**13)  # 80 TB a row
    sampled = sample_with(lm, PROMPTS, range(4), limit)
    assert {completion.finish_reason for row in sampled for completion in row} == {"stop"}


@contextmanager
def forward_shapes(lm: LanguageModel) -> Iterator[list[tuple[int, int]]]:
    """The shapes of the tokens that the model reads within the context."""
    shapes: list[tuple[int, int]] = []

    def record(_: Any, __: Any, given: dict[str, Any]) -> None:
        shapes.append(tuple(given["input_ids"].shape))

    handle = lm.model.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


def test_prompts_are_read_once_and_finished_rows_leave(lm: LanguageModel) -> None:
    sampler = TransformersSampler(lm)
    with forward_shapes(lm) as shapes:
        sampled = sampler.sample(PROMPTS, range(64), SHORT, seed=1, round_name="step 2")
    assert shapes[0] == (4, 9)  # one row per problem, not per completion
    assert {length for _, length in shapes[1:]} == {1}
    lengths = np.array([len(c.tokens) for row in sampled for c in row])
    for position, (rows, _) in enumerate(shapes[1:], start=1):
        unfinished = int((lengths > position).sum())
        assert rows == unfinished


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_one_length_equal_the_naive_sampler(family: str) -> None:
    """Without padding there is no mask."""
    lm = random_lm(family, FAMILIES[family])
    prompts = prompts_of([3, 4, 5], [9, 10, 11], [20, 21, 22])
    for prompt, row in zip(prompts, sample_with(lm, prompts, range(3), SHORT), strict=True):
        for sample, completion in enumerate(row):
            assert_same(completion, naive(lm, prompt, sample, SHORT))


def test_the_cache_is_copied_once_per_block(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    widened = cached_forward.widened
    monkeypatch.setattr(cached_forward, "widened", lambda states, width: widths.append(width) or widened(states, width))
    reader = CachedReader(lm)
    with lm.inference():
        reader.read_prompts([np.arange(3), np.arange(4)], [2, 2], max_new_tokens=200)
        for _ in range(200):
            reader.read(torch.tensor([3, 4, 5, 6]))
    block = cached_forward.BLOCK_TOKENS
    assert sorted(widths) == 4 * [block] + 4 * [204]  # keys and values of two layers; no room beyond the limit


def test_sampling_ends_when_every_row_has_finished(lm: LanguageModel) -> None:
    sampler = TransformersSampler(lm)
    with forward_shapes(lm) as shapes:
        sampled = sampler.sample(PROMPTS, range(4), Decoding(max_completion_tokens=2000), seed=1, round_name="step 2")
    assert len(shapes) == max(len(c.tokens) for row in sampled for c in row) < 200


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_restored(training: bool) -> None:
    lm = random_lm("gpt2", {**GPT2_SHAPE, "resid_pdrop": 0.5})
    sampler = TransformersSampler(lm)
    reference = [c.tokens.tolist() for c in sampler.sample(PROMPTS, [0], SHORT, seed=0, round_name="")[1]]
    lm.model.train(training)
    sampled = sampler.sample(PROMPTS, [0], SHORT, seed=0, round_name="")[1]
    assert [c.tokens.tolist() for c in sampled] == reference
    assert all(module.training == training for module in lm.model.modules())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_broken_weights_end_the_run_at_the_first_token(temperature: float) -> None:
    lm = random_lm("qwen2", SHAPE)
    sampler = TransformersSampler(lm)
    with torch.no_grad():
        next(lm.model.parameters())[3] = math.nan
    lm.model.train()
    with (
        forward_shapes(lm) as shapes,
        pytest.raises(TrainingError, match=r"^the model's logits are no longer finite"),
    ):
        sampler.sample(PROMPTS, range(4), Decoding(temperature, 1.0, 8), seed=0, round_name="")
    assert len(shapes) == 1
    assert lm.model.training


def test_a_model_that_checkpoints_activations_draws_the_same(tiny_model_folder: Path) -> None:
    sampled = []
    for checkpointing in (True, False):
        settings = ModelSettings(
            path=str(tiny_model_folder), device="cpu", dtype="float32", gradient_checkpointing=checkpointing
        )
        sampler = TransformersSampler(load_language_model(settings, for_training=True))
        prompt = Prompt(Problem("p", "", ""), np.arange(5, 9))
        sampled.append(sampler.sample([prompt], range(2), Decoding(1.0, 1.0, 6), seed=0, round_name="step 1"))
    for with_it, without in zip(sampled[0][0], sampled[1][0], strict=True):
        assert with_it.tokens.tolist() == without.tokens.tolist()


@pytest.mark.parametrize("for_training", [True, False])
def test_bfloat16_is_near_float32(tiny_model_folder: Path, for_training: bool) -> None:
    half, full = (
        load_language_model(
            ModelSettings(path=str(tiny_model_folder), device="cpu", dtype=dtype), for_training=for_training
        )
        for dtype in ("bfloat16", "float32")
    )
    for prompt, row in zip(PROMPTS, sample_with(half, PROMPTS, range(4), SHORT), strict=True):
        for completion in row:
            text = torch.from_numpy(np.concatenate([prompt.tokens, completion.tokens]))[None]
            with torch.no_grad():
                logits = full.model(input_ids=text).logits[0, len(prompt.tokens) - 1 : -1]
            expected = logits.log_softmax(-1)[range(len(completion.tokens)), completion.tokens].numpy()
            assert np.abs(completion.logprobs - expected).mean() < 0.05
            assert np.abs(completion.logprobs - expected).max() > 0.0


@pytest.mark.parametrize("family", ["gpt2", "gptj", "opt"])
def test_a_text_beyond_the_models_positions_is_refused(family: str) -> None:
    lm = random_lm(family, FAMILIES[family])
    prompt = prompts_of([3] * 60)
    assert len(sample_with(lm, prompt, [0], Decoding(max_completion_tokens=4))[0]) == 1
    with pytest.raises(ConfigError, match=r"^the model's context is 64 tokens, but the prompt of .* has 60 .* is 5$"):
        sample_with(lm, prompt, [0], Decoding(max_completion_tokens=5))


def test_computed_positions_have_no_end(lm: LanguageModel) -> None:
    prompt = prompts_of([3] * 70)
    assert_same(sample_with(lm, prompt, [0], SHORT)[0][0], naive(lm, prompt[0], 0, SHORT))


def test_prompts_that_cannot_be_read_are_refused(lm: LanguageModel) -> None:
    with pytest.raises(DataError, match=r"^problem 'p\[\]' has an empty prompt.*$"):
        sample_with(lm, [*PROMPTS, *prompts_of([])], [0], SHORT)
    with pytest.raises(ConfigError, match=r"^the tokenizer gives token 40, but the model knows 40 tokens only.*$"):
        sample_with(lm, prompts_of([3, 40, 2]), [0], SHORT)


def test_the_shipped_model_is_sampled_as_by_the_naive_sampler(countdown_model: LanguageModel) -> None:
    prompts = [
        Prompt(Problem(text, "", ""), np.array(countdown_model.tokenizer.encode(text)))
        for text in ("1 4 4 12 = 21 :", "3 5 7 = 22 :")
    ]
    for prompt, row in zip(prompts, sample_with(countdown_model, prompts, range(8), SHORT), strict=True):
        for sample, completion in enumerate(row):
            expected = naive(countdown_model, prompt, sample, SHORT)
            assert_same(completion, expected)
            assert "<" not in completion.text
