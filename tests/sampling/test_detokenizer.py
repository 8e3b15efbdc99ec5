from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ngrpo.errors import ConfigError
from ngrpo.sampling.detokenizer import Detokenizer

TAGS = ["<answer>", "</answer>"]
TEXT = "<|im_start|>so <answer>7</answer><|im_end|>"


@pytest.fixture(params=["added", "additional"])
def tokenizer(request: pytest.FixtureRequest, tiny_model_folder: Path) -> object:
    loaded = AutoTokenizer.from_pretrained(tiny_model_folder)
    if request.param == "added":
        loaded.add_tokens(TAGS, special_tokens=True)
    else:
        loaded.add_special_tokens({"additional_special_tokens": TAGS})
    return loaded


def test_special_tokens_are_left_out_but_for_those_that_are_kept(tokenizer: object) -> None:
    tokens = tokenizer.encode(TEXT, add_special_tokens=False)  # type: ignore[attr-defined]
    assert Detokenizer(tokenizer).texts([tokens, []]) == ["so 7", ""]
    assert Detokenizer(tokenizer, TAGS).texts([tokens, []]) == ["so <answer>7</answer>", ""]
    assert Detokenizer(tokenizer, TAGS[:1]).texts([tokens]) == ["so <answer>7"]


def test_a_token_that_is_not_special_is_one_line(tokenizer: object) -> None:
    with pytest.raises(
        ConfigError, match=r"^\[sampling\] keep_special_tokens: '<answr>' is not a special token"
    ) as error:
        Detokenizer(tokenizer, ["<answer>", "<answr>"])
    assert "\n" not in str(error.value)
    assert "</answer>" in str(error.value)
