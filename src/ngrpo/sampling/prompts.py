"""From problems to prompts: the task's template, the tokenizer's chat template where it has one, tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import TemplateError

from ngrpo.errors import ConfigError, DataError
from ngrpo.sampling.sampler import Prompt
from ngrpo.tasks import Task
from ngrpo.types import Message, Problem


def encode_prompt(task: Task, problem: Problem, tokenizer: Any | None) -> Prompt:
    """Returns the prompt of a problem; without a tokenizer, for a server that has its own, it has no tokens.

    Where the tokenizer has a chat template, the task's messages go through it, ready for the assistant's message, or
    inside it with [task] prefill or continue_final_message. Elsewhere, and with [task] chat = false, their texts are
    joined by blank lines and encoded as the tokenizer encodes the beginning of a text.

    Args:
        task: gives the messages.
        problem: the problem.
        tokenizer: a Hugging Face tokenizer, or None.

    Raises:
        ConfigError: when the chat template does not take the messages (some take no system message) or knows nothing of
            a variable in [task] chat_template_kwargs.
        DataError: for messages that end with the assistant's, unless the task continues them.
    """
    turns = task.messages(problem)
    continued = turns[-1].role == "assistant"
    if continued and not (task.continue_final_message or task.prefill):
        raise DataError(f"problem '{problem.id}' ends with an assistant message; see [task] continue_final_message")
    plain = "\n\n".join(turn.content for turn in turns)
    if tokenizer is None:
        nothing = np.empty(0, dtype=np.int64)
        if not task.chat:
            return Prompt(problem, nothing, text=plain)
        return Prompt(problem, nothing, turns, template_variables=task.chat_template_kwargs)
    if task.chat and getattr(tokenizer, "chat_template", None):
        text = _templated(task, problem, turns, tokenizer)
        tokens = tokenizer.encode(text, add_special_tokens=False)  # the template has written them
    else:
        if task.chat_template_kwargs:
            raise ConfigError("[task] chat_template_kwargs is given, but the tokenizer has no chat template")
        text = plain
        tokens = tokenizer.encode(text)
        # Some tokenizers close every text; after an end-of-sequence token there would be nothing left to say.
        while len(tokens) > 1 and tokens[-1] == tokenizer.eos_token_id:
            tokens.pop()
    return Prompt(problem, np.asarray(tokens, dtype=np.int64), turns if task.chat else (), text)


def _templated(task: Task, problem: Problem, turns: Sequence[Message], tokenizer: Any) -> str:
    template, variables = tokenizer.chat_template, task.chat_template_kwargs
    unknown = (
        [name for name in variables if not re.search(rf"\b{re.escape(name)}\b", template)]
        if isinstance(template, str)
        else []
    )
    if unknown:
        raise ConfigError(f"[task] chat_template_kwargs: the tokenizer's chat template has no variable '{unknown[0]}'")
    continued = turns[-1].role == "assistant"
    try:
        return str(
            tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in turns],
                add_generation_prompt=not continued,
                continue_final_message=continued,
                tokenize=False,
                **variables,
            )
        )
    except (TemplateError, ValueError) as error:
        roles = ", ".join(turn.role for turn in turns)
        raise ConfigError(
            f"the chat template of the tokenizer refuses the messages of problem '{problem.id}' ({roles}): {error}"
        ) from error
