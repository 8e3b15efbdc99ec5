"""verl's own reward loader and manager take `verl_reward` by its path and name."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch

pytest.importorskip("verl")

from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager

from ngrpo.models.paths import resolve_model_path

TEXTS = {"#### 12": "correct", "#### 13": "wrong", "12 13": "no_answer"}


class Decoder:
    """A tokenizer whose tokens are places in a list of texts; the shipped one knows digits and operators alone."""

    def __init__(self, texts):
        self.texts = list(texts)

    def decode(self, ids, skip_special_tokens=True):
        return self.texts[int(ids[0])]


def config():
    reward = {
        "custom_reward_function": {"path": "pkg://ngrpo.grading.rewards", "name": "verl_reward"},
        "reward_manager": {"source": "register", "name": "naive"},
    }
    return OmegaConf.create({"reward": reward})


def batch(token, truth):
    tensors = {
        "prompts": torch.zeros(1, 2, dtype=torch.long),
        "responses": torch.tensor([[token, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0]]),
    }
    columns = {
        "data_source": np.array(["openai/gsm8k"], dtype=object),
        "reward_model": np.array([{"style": "rule", "ground_truth": truth}], dtype=object),
        "extra_info": np.array([{"index": 0, "split": "train"}], dtype=object),
    }
    return DataProto(batch=TensorDict(tensors, batch_size=[1]), non_tensor_batch=columns)


@pytest.mark.parametrize("truth", ["12", "6 + 6 = 12\n#### 12"])
def test_the_naive_manager_scores_with_our_grader(truth):
    async def scored():
        manager = load_reward_manager(config(), Decoder(TEXTS))
        return [await manager.run_single(batch(token, truth)) for token in range(len(TEXTS))]

    found = asyncio.run(scored())
    assert [one["reward_extra_info"]["status"] for one in found] == list(TEXTS.values())
    assert [one["reward_score"] for one in found] == [1.0, 0.0, 0.0]


def test_a_real_tokenizer_reaches_the_function_as_text():
    tokenizer = AutoTokenizer.from_pretrained(resolve_model_path("builtin:countdown-base"))

    async def scored():
        manager = load_reward_manager(config(), tokenizer)
        return await manager.run_single(batch(int(tokenizer.vocab_size) - 1, "12"))

    found = asyncio.run(scored())
    assert (found["reward_score"], found["reward_extra_info"]["status"]) == (0.0, "no_answer")
