"""The shipped base model: an ordinary Hugging Face folder that is weak, but not hopeless, on Countdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ngrpo.models.paths import resolve_model_path
from ngrpo.tasks.countdown import Countdown

FOLDER = Path(resolve_model_path("builtin:countdown-base"))
SAMPLES = 16


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


def test_it_is_small_and_complete() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
    assert {"tokenizer.json", "tokenizer_config.json"} <= names
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000


def test_it_loads_in_single_and_half_precision(model: Any) -> None:
    assert model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in model.parameters()) == 339_168
    half = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16)
    logits = half(input_ids=torch.tensor([[9, 10, 11]])).logits
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("text", ["2 7 9 12 = 37 :", "2 9 * 12 + 7 +", "0 60 / -"])
def test_a_token_per_word_there_and_back(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text)["input_ids"]
    assert len(tokens) == len(text.split())
    assert tokenizer.unk_token_id not in tokens
    assert tokenizer.decode(tokens) == text


def test_special_tokens(model: Any, tokenizer: Any) -> None:
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id
    assert tokenizer.pad_token_id == model.config.pad_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"
    assert tokenizer.chat_template is None
    assert tokenizer.decode([10, tokenizer.eos_token_id], skip_special_tokens=True) == "1"


def test_the_widest_settings_fit(model: Any, tokenizer: Any) -> None:
    task = Countdown(numbers=6, max_number=60, max_target=60, test_size=50)
    for problem in task.problems("test"):
        tokens = tokenizer(task.messages(problem)[0].content)["input_ids"]
        assert tokenizer.unk_token_id not in tokens
        assert len(tokens) + 12 <= model.config.max_position_embeddings


def test_it_solves_some_problems_and_fails_most(model: Any, tokenizer: Any) -> None:
    """Pass@1 lies between 5 and 15 %; the bounds leave room for the sampling error of 128 problems."""
    task = Countdown()
    problems = task.problems("test")[:128]
    prompts = tokenizer([task.messages(problem)[0].content for problem in problems], return_tensors="pt")
    torch.manual_seed(0)
    with torch.inference_mode():
        tokens = model.generate(**prompts, num_return_sequences=SAMPLES)
    texts = tokenizer.batch_decode(tokens[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    pairs = [(problems[row // SAMPLES], text) for row, text in enumerate(texts)]
    correct = torch.tensor([grade.reward for grade in task.grade_many(pairs)]).view(-1, SAMPLES)
    assert 0.05 <= correct.mean() <= 0.15
    assert correct.amax(dim=1).mean() >= 0.5
