"""A real TRL's reward weights and reward functions reach our advantages; rewards above max_reward are handled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from ngrpo.adapters.trl import NGRPOConfig, NGRPOTrainer
from ngrpo.errors import ConfigError
from ngrpo.methods import GRPO
from tests.engines.trl_runs import SIZE, Ours, Reward, settings, trainer

pytestmark = pytest.mark.filterwarnings("default")  # TRL's and torch's own


def numbered(values: list[float | None]) -> Any:
    """A reward function that gives the completions of each group these values in turn."""

    def function(completions: Any, **_: Any) -> list[float | None]:
        return [values[row % len(values)] for row in range(len(completions))]

    return function


class Environment:
    """Rewards its rollout by the number of it: 0, 0, 1, 1."""

    made = 0

    def __init__(self) -> None:
        self.number = Environment.made % 4
        Environment.made += 1

    def reset(self, **_: Any) -> None:
        return None

    def look(self) -> str:
        """Looks around.

        Returns:
            What there is.
        """
        return "nothing"

    def get_reward(self) -> float:
        return float(self.number > 1)


def chat_model() -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """A small random model whose chat template can call tools, as environments need."""
    import trl
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bytes_alone = Tokenizer(models.BPE({letter: n for n, letter in enumerate([*letters, *tokens])}, []))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_alone.decoder = decoders.ByteLevel()
    bytes_alone.add_special_tokens(tokens)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_alone, eos_token=tokens[2], pad_token=tokens[0])
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **shape, **heads)), tokenizer


def advantages_with_environment(folder: Path, reward_funcs: Any, **changes: Any) -> list[float]:
    """Advantages of one group of four, in the order in which it was sampled."""
    model, tokenizer = chat_model()
    small = {"per_device_train_batch_size": 4, "num_generations": 4, "updates_per_generation": 1, "max_steps": 1}
    config = NGRPOConfig(**settings(folder, method="grpo", beta=0.0, max_completion_length=4, **{**small, **changes}))
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": "1"}]}] * 4)
    given = {"train_dataset": data, "processing_class": tokenizer, "environment_factory": Environment}
    Environment.made = 0
    run = NGRPOTrainer(model, reward_funcs, config, **given)
    Environment.made = 0
    run._environment_pool = {None: []}
    run.train()
    return list(run._logs["advantages"])


def test_the_reward_of_an_environment_joins_the_weights(tmp_path: Path) -> None:
    # TRL gives the environment weight 1: 0.5 f + e is 0, 0.5, 1, 1.5, where f + e would give -1.225, 0, 0, 1.225.
    got = advantages_with_environment(tmp_path, [numbered([0.0, 1.0, 0.0, 1.0])], reward_weights=[0.5])
    assert got == pytest.approx([-1.162, -0.387, 0.387, 1.162], abs=1e-3)


def test_two_functions_beside_an_environment(tmp_path: Path) -> None:
    functions = [numbered([0.0, 1.0, 0.0, 1.0]), numbered([1.0, 0.0, 0.0, None])]
    got = advantages_with_environment(tmp_path, functions, reward_weights=[0.5, 0.25])
    ours = GRPO().advantages(torch.tensor([[0.25, 0.5, 1.0, 1.5]]))
    assert got == pytest.approx(ours[0].tolist(), abs=1e-6)


def test_weights_that_change_during_training_are_used(tmp_path: Path) -> None:
    found = []

    class Changing(Ours):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            self.reward_weights = torch.tensor([0.0, 1.0]) if found else torch.tensor([1.0, 0.0])
            batch = super()._generate_and_score_completions(inputs)
            found.append(torch.tensor(list(self._logs["advantages"])).view(-1, SIZE))
            return batch

    first, second = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    config = NGRPOConfig(**settings(tmp_path, method="dr_grpo", max_steps=2, updates_per_generation=1))
    trainer(Changing, config, [numbered(first), numbered(second)]).train()
    assert len(found) == 2
    for groups, rewards in zip(found, (first, second), strict=True):
        assert torch.allclose(groups, torch.tensor(rewards) - 0.125)


@pytest.mark.parametrize(
    ("changes", "functions", "total"),
    [
        ({}, [1.0, 0.5], "2"),
        ({"reward_weights": [1.0, 0.5]}, [1.0, 1.0], "1.5"),
        ({"reward_weights": [0.5]}, [1.0], "0.5"),
        ({"method": "dapo"}, [1.0, 0.5], "2"),
        ({"method": "psr_nsr", "reward_weights": [2.0, -1.0]}, [1.0, 1.0], "2"),
    ],
)
def test_weights_that_contradict_the_default_max_reward_are_refused_at_the_start(
    tmp_path: Path, changes: dict[str, Any], functions: list[float], total: str
) -> None:
    config = NGRPOConfig(**settings(tmp_path, **changes))
    with pytest.raises(
        ConfigError, match=rf'max_reward is 1 by default, .* sum to {total}; .*{{"max_reward": {total}}}'
    ):
        trainer(Ours, config, [numbered([best]) for best in functions])


@pytest.mark.parametrize(
    ("changes", "functions"),
    [
        ({"reward_weights": [0.9, 0.1]}, 2),
        ({"method_args": {"max_reward": 1.5}}, 2),
        ({"method": "grpo"}, 2),
        ({"method": "rloo", "reward_weights": [0.5]}, 1),
    ],
)
def test_weights_are_accepted_where_max_reward_is_known_or_not_needed(
    tmp_path: Path, changes: dict[str, Any], functions: int
) -> None:
    assert trainer(Ours, NGRPOConfig(**settings(tmp_path, **changes)), [numbered([1.0])] * functions)


class Late(Reward):
    """Gives one reward of 1.5 in the second generation."""

    def __call__(self, prompts: Any, **kwargs: Any) -> Any:
        rewards = super().__call__(prompts, **kwargs)
        if len(self.seen) > len(rewards):
            rewards[3] = 1.5
        return rewards


def test_a_reward_above_max_reward_saves_the_training_and_names_the_cure(tmp_path: Path) -> None:
    given = settings(tmp_path, max_steps=6, save_strategy="steps", save_steps=100)
    run = trainer(Ours, NGRPOConfig(**given), Late())
    with pytest.raises(
        ConfigError, match=r'a reward is 1\.5, .* set method_args={"max_reward": 1\.5}.*; step 4 is saved'
    ):
        run.train()
    assert (tmp_path / "checkpoint-4" / "optimizer.pt").exists()
    again = trainer(Ours, NGRPOConfig(**given, method_args={"max_reward": 1.5}), Late())
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 6
    assert len(again.rows) == 2 * 32


def test_an_error_saves_nothing_where_no_checkpoints_are_wanted(tmp_path: Path) -> None:
    run = trainer(Ours, NGRPOConfig(**settings(tmp_path, max_steps=6)), Late())
    with pytest.raises(ConfigError, match=r"reward that a completion can get$"):
        run.train()
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("grpo", r"above max_reward = 1: .* in group/\* and reward/correct; advantages do not depend on it; .*1\.5"),
        ("psr_nsr", r"above max_reward = 1: completions from max_reward on count as correct; .*1\.5"),
    ],
)
def test_methods_without_a_bound_go_on_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str, said: str
) -> None:
    import re

    config = NGRPOConfig(**settings(tmp_path, max_steps=2, method=method, updates_per_generation=1))
    values = [1.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    run = trainer(Ours, config, numbered(values))
    with caplog.at_level(logging.WARNING, logger="ngrpo"):
        run.train()
    lines = [record.getMessage() for record in caplog.records if "max_reward" in record.getMessage()]
    assert len(lines) == 1
    assert re.search(said, lines[0])
    logged = [line for line in run.state.log_history if "group/mixed" in line]
    assert [line["reward/correct"] for line in logged] == [0.25, 0.25]
    ours = run.method.advantages(torch.tensor([values]))[0].tolist()
    assert list(run._logs["advantages"])[:SIZE] == pytest.approx(ours, abs=1e-6)
