from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ngrpo.errors import ConfigError, DataError
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.tasks import load_task
from ngrpo.tasks.countdown import Countdown
from ngrpo.types import Message, Problem

PROBLEM = Problem("p", "how many ?", "3")
UNKNOWN = "<unk>"
WORDS = ["<s>", "</s>", "<unk>", "how", "many", "?", "system", "user", "assistant", "be", "brief", "3", ":"]


def word_tokenizer(*, template: str | None = None, closing: str = "") -> PreTrainedTokenizerFast:
    """Words to tokens, with <s> before every text, as Llama's, and perhaps something after it."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [("<s>", 0), ("</s>", 1)]
    tokenizer.post_processor = TemplateProcessing(single=f"<s> $A {closing}".strip(), special_tokens=special)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": UNKNOWN}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = template
    return fast


def words(tokenizer: Any, problem: Problem = PROBLEM, **settings: Any) -> list[str]:
    task = Countdown(**{"prompt": "{question}", **settings})
    prompt = encode_prompt(task, problem, tokenizer)
    assert prompt.problem is problem
    assert prompt.tokens.dtype == "int64"
    return list(tokenizer.convert_ids_to_tokens(prompt.tokens.tolist()))


TEMPLATE = (
    "<s> {% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def test_without_a_chat_template_the_text_is_encoded_as_the_beginning_of_one() -> None:
    assert words(word_tokenizer()) == ["<s>", "how", "many", "?"]
    assert words(word_tokenizer(), system="be brief") == ["<s>", "be", "brief", "how", "many", "?"]


def test_an_end_token_that_the_tokenizer_adds_is_taken_off() -> None:
    assert words(word_tokenizer(closing="</s>")) == ["<s>", "how", "many", "?"]


def test_a_chat_template_writes_the_roles_and_the_only_bos() -> None:
    tokenizer = word_tokenizer(template=TEMPLATE)
    assert words(tokenizer) == ["<s>", "user", ":", "how", "many", "?", "assistant", ":"]
    with_system = words(tokenizer, system="be brief")
    assert with_system == ["<s>", "system", ":", "be", "brief", "user", ":", "how", "many", "?", "assistant", ":"]


def test_template_and_system_apply_to_conversations_too() -> None:
    turns = (Message("user", "many"), Message("assistant", "3"), Message("user", "how"))
    expected = ["<s>", "user", ":", "many", "assistant", ":", "3", "user", ":", "how", "assistant", ":"]
    assert words(word_tokenizer(template=TEMPLATE), Problem("p", "", "", messages=turns)) == expected
    asked = words(
        word_tokenizer(template=TEMPLATE),
        Problem("p", "", "", messages=turns),
        system="be brief",
        prompt="{question} ?",
    )
    assert asked == ["<s>", "system", ":", "be", "brief", *expected[1:9], "how", "?", "assistant", ":"]


def test_a_final_assistant_message_is_continued_where_asked_for() -> None:
    problem = Problem("p", "how", "", messages=(Message("user", "how"), Message("assistant", "be")))
    tokenizer = word_tokenizer(template=TEMPLATE)
    with pytest.raises(DataError, match=r"^problem 'p' ends with an assistant message"):
        words(tokenizer, problem)
    continued = words(tokenizer, problem, continue_final_message=True)
    assert continued == ["<s>", "user", ":", "how", "assistant", ":", "be"]
    assert words(tokenizer, continue_final_message=True)[-2:] == ["assistant", ":"]
    assert words(word_tokenizer(), problem, continue_final_message=True) == ["<s>", "how", "be"]


def test_a_think_prefill_stays_open(tiny_model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    turns = (Message("user", "1+1?"), Message("assistant", "<think>\nFirst"))
    task = load_task({"name": "countdown", "prompt": "{question}", "continue_final_message": True})
    prompt = encode_prompt(task, Problem("p", "1+1?", "", messages=turns), tokenizer)
    assert prompt.text == "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\nFirst"
    assert tokenizer.decode(prompt.tokens.tolist()) == prompt.text


def test_a_template_that_refuses_the_messages_is_one_line() -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    tokenizer = word_tokenizer(template=refusing)
    assert words(tokenizer)[0] == "<s>"
    with pytest.raises(ConfigError, match=r"^the chat template .* problem 'p' \(system, user\): no system role$"):
        words(tokenizer, system="be brief")


def test_a_text_of_nothing_has_no_tokens_but_the_tokenizers_own() -> None:
    assert words(word_tokenizer(), Problem("p", "", "")) == ["<s>"]


def test_the_byte_level_tokenizer_survives_any_text(tiny_model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    question = "Löse \\frac{1}{2} = x, 第二 🧮 <|im_end|>\n{{ m }}"
    task = load_task({"name": "countdown", "prompt": "{question}"})
    tokens = encode_prompt(task, Problem("p", question, ""), tokenizer).tokens
    text = tokenizer.decode(tokens.tolist())
    assert text == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def test_a_plain_prompt_although_there_is_a_template() -> None:
    tokenizer = word_tokenizer(template=TEMPLATE)
    assert words(tokenizer, chat=False) == ["<s>", "how", "many", "?"]
    assert words(tokenizer, chat=False, system="be brief") == ["<s>", "be", "brief", "how", "many", "?"]
    prompt = encode_prompt(
        Countdown(name="countdown", prompt="{question}", system="be", chat=False), PROBLEM, tokenizer
    )
    assert (prompt.text, prompt.messages) == ("be\n\nhow many ?", ())
    served = encode_prompt(Countdown(name="countdown", prompt="{question}", chat=False), PROBLEM, None)
    assert (served.text, served.messages, len(served.tokens)) == ("how many ?", (), 0)


def test_variables_of_the_template() -> None:
    thinking = TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %} be brief{% endif %}"
    tokenizer = word_tokenizer(template=thinking)
    plain = ["<s>", "user", ":", "how", "many", "?", "assistant", ":"]
    assert words(tokenizer) == words(tokenizer, chat_template_kwargs={"enable_thinking": True}) == plain
    assert words(tokenizer, chat_template_kwargs={"enable_thinking": False}) == [*plain, "be", "brief"]
    with pytest.raises(ConfigError, match=r"chat template has no variable 'enable_thinkin'"):
        words(tokenizer, chat_template_kwargs={"enable_thinkin": False})
    with pytest.raises(ConfigError, match="the tokenizer has no chat template"):
        words(word_tokenizer(), chat_template_kwargs={"enable_thinking": False})
    task = Countdown(name="countdown", chat_template_kwargs={"enable_thinking": False})
    assert encode_prompt(task, PROBLEM, None).template_variables == {"enable_thinking": False}
    assert len(task.problems("test")) > 0


def test_a_prefilled_assistant_turn_is_continued() -> None:
    tokenizer = word_tokenizer(template=TEMPLATE)
    assert words(tokenizer, prefill="be 3") == ["<s>", "user", ":", "how", "many", "?", "assistant", ":", "be", "3"]
    assert words(word_tokenizer(), prefill="be 3") == ["<s>", "how", "many", "?", "be", "3"]
    own = Problem("p", "how", "", messages=(Message("user", "how"), Message("assistant", "many")))
    kept = words(tokenizer, own, prefill="be 3", continue_final_message=True)
    assert kept == ["<s>", "user", ":", "how", "assistant", ":", "many"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chat_template_kwargs": {"tokenize": True}}, "must not contain 'tokenize', which is set by the trainer"),
        ({"chat_template_kwargs": {"a": 1}, "chat": False}, "chat = false uses no chat template: remove one"),
    ],
)
def test_settings_that_contradict_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task({"name": "countdown", **settings})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
