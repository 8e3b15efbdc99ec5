"""Stop strings: the first token with which the text contains one, whichever way the tokens cut it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ngrpo.config import ModelSettings
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.detokenizer import Detokenizer
from ngrpo.sampling.stop_strings import StopSearch, ended
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.types import Problem


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_folder)


@pytest.fixture(scope="module")
def tiny(tiny_model_folder: Path) -> LanguageModel:
    return load_language_model(ModelSettings(path=str(tiny_model_folder), device="cpu"), for_training=False)


def first_hit(detokenizer: Detokenizer, tokens: list[int], stops: list[str]) -> int:
    """The length at which the text contains a stop string, by decoding all tokens each time; 0 for none."""
    for length in range(1, len(tokens) + 1):
        if any(stop in detokenizer.texts([tokens[:length]])[0] for stop in stops):
            return length
    return 0


def found_hit(detokenizer: Detokenizer, tokens: list[int], stops: list[str]) -> int:
    search = StopSearch(stops, detokenizer)
    return next((i + 1 for i, token in enumerate(tokens) if search.hits([0], [token])[0]), 0)


PIECES = ["\n", "is", " is", "all x", "é", "水", "n", "12 plus", "#", "x^2"]
STOPS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("aisx水é^2 \nplu1#n"), max_size=30), STOPS, st.randoms(use_true_random=False))
def test_hits_are_those_of_decoding_everything_each_time(
    tokenizer: Any, text: str, stops: list[str], random: Any
) -> None:
    detokenizer = Detokenizer(tokenizer)
    tokens = tokenizer.encode("What is 12 " + text, add_special_tokens=False)
    # Special tokens and bytes of torn characters in between.
    for _ in range(random.randrange(4)):
        tokens.insert(random.randrange(len(tokens) + 1), random.randrange(300))
    assert found_hit(detokenizer, tokens, stops) == first_hit(detokenizer, tokens, stops)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 299), max_size=40), STOPS)
def test_hits_in_random_tokens(tokenizer: Any, tokens: list[int], stops: list[str]) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert found_hit(detokenizer, tokens, stops) == first_hit(detokenizer, tokens, stops)


def test_completions_in_one_search_do_not_mix(tokenizer: Any) -> None:
    search = StopSearch(["ab"], Detokenizer(tokenizer))
    a, b = (tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "ab")
    assert search.hits([3, 5], [a, b]) == [False, False]
    assert search.hits([5, 3], [b, b]) == [False, True]


@pytest.mark.parametrize("include_stop", [False, True])
def test_completions_are_those_without_stop_strings_cut_at_the_first(tiny: LanguageModel, include_stop: bool) -> None:
    """Same random streams: each completion is a prefix of the one that is sampled without stop strings."""
    tokens = np.asarray(tiny.tokenizer.encode("What is 12"), dtype=np.int64)
    prompts = [Prompt(Problem("p", "", ""), tokens), Prompt(Problem("q", "", ""), tokens[:2])]
    free = Decoding(0.7, 1.0, 24)
    detokenizer = Detokenizer(tiny.tokenizer)
    whole = TransformersSampler(tiny, max_sequences=5).sample(prompts, range(12), free, seed=0, round_name="r")
    stops = (" is", "x", "al")
    decoding = Decoding(0.7, 1.0, 24, stop=stops, include_stop=include_stop)
    cut = TransformersSampler(tiny, max_sequences=5).sample(prompts, range(12), decoding, seed=0, round_name="r")
    ends = []
    for before, after in zip(chain(*whole), chain(*cut), strict=True):
        stopped = before.finish_reason == "stop"
        length = first_hit(detokenizer, before.tokens[: len(before.tokens) - stopped].tolist(), list(stops))
        n = length or len(before.tokens)
        assert after.tokens.tolist() == before.tokens[:n].tolist()
        np.testing.assert_allclose(after.logprobs, before.logprobs[:n], atol=1e-5)
        assert after.finish_reason == ("stop" if length else before.finish_reason)
        text = detokenizer.texts([before.tokens[:n].tolist()])[0] if length else before.text
        assert after.text == ended(text, stops, keep=include_stop)[0]
        assert any(stop in after.text for stop in stops) == (include_stop and bool(length))
        ends.append(length)
    assert 0 < sum(map(bool, ends)) < len(ends)  # some end with a string, some do not


def test_a_stop_string_that_begins_in_the_prompt_does_not_count(tiny: LanguageModel) -> None:
    tokens = np.asarray(tiny.tokenizer.encode("What is 1"), dtype=np.int64)
    decoding = Decoding(0.7, 1.0, 6, stop=("What is 1",))
    for completion in TransformersSampler(tiny).sample(
        [Prompt(Problem("p", "", ""), tokens)], range(4), decoding, seed=0, round_name=""
    )[0]:
        assert "What is 1" not in completion.text
        assert len(completion.tokens) == 6 or completion.finish_reason == "stop"
