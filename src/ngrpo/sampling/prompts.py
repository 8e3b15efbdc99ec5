"""From problems to prompts: the task's template, the tokenizer's chat template where it has one, tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ngrpo.sampling.sampler import Prompt
from ngrpo.tasks import Task
from ngrpo.types import Problem


def encode_prompt(task: Task, problem: Problem, tokenizer: Any) -> Prompt:
    """Returns the prompt of a problem.

    Where the tokenizer has a chat template, the task's messages go through it, ready for the assistant's turn;
    elsewhere their texts are joined by blank lines and encoded as they are.

    Args:
        task: gives the messages.
        problem: the problem.
        tokenizer: a Hugging Face tokenizer.
    """
    messages = [{"role": m.role, "content": m.content} for m in task.messages(problem)]
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        tokens = tokenizer.encode(text, add_special_tokens=False)
    else:
        tokens = tokenizer.encode("\n\n".join(m["content"] for m in messages))
    return Prompt(problem, np.asarray(tokens, dtype=np.int64))


def encode_prompts(
    task: Task, problems: Iterable[Problem], tokenizer: Any, *, max_prompt_tokens: int
) -> tuple[list[Prompt], int]:
    """Returns the prompts of at most `max_prompt_tokens` tokens, in order, and how many longer ones were left out."""
    prompts = [encode_prompt(task, problem, tokenizer) for problem in problems]
    kept = [prompt for prompt in prompts if 0 < len(prompt.tokens) <= max_prompt_tokens]
    return kept, len(prompts) - len(kept)
