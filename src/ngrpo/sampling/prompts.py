"""From problems to prompts: the task's template, the tokenizer's chat template where it has one, tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from jinja2 import TemplateError

from ngrpo.errors import ConfigError, DataError
from ngrpo.sampling.sampler import Prompt
from ngrpo.tasks import Task
from ngrpo.types import Problem


def encode_prompt(task: Task, problem: Problem, tokenizer: Any | None) -> Prompt:
    """Returns the prompt of a problem; without a tokenizer, for a server that has its own, it has no tokens.

    Where the tokenizer has a chat template, the task's messages go through it, ready for the assistant's message, or
    inside it with [task] continue_final_message. Elsewhere their texts are joined by blank lines and encoded as the
    tokenizer encodes the beginning of a text.

    Args:
        task: gives the messages.
        problem: the problem.
        tokenizer: a Hugging Face tokenizer, or None.

    Raises:
        ConfigError: when the chat template does not take the messages (some take no system message).
        DataError: for messages that end with the assistant's, unless the task continues them.
    """
    turns = task.messages(problem)
    continued = turns[-1].role == "assistant"
    if continued and not task.continue_final_message:
        raise DataError(f"problem '{problem.id}' ends with an assistant message; see [task] continue_final_message")
    if tokenizer is None:
        return Prompt(problem, np.empty(0, dtype=np.int64), turns)
    messages = [{"role": m.role, "content": m.content} for m in turns]
    if getattr(tokenizer, "chat_template", None):
        try:
            text = tokenizer.apply_chat_template(
                messages, add_generation_prompt=not continued, continue_final_message=continued, tokenize=False
            )
        except (TemplateError, ValueError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ConfigError(
                f"the chat template of the tokenizer refuses the messages of problem '{problem.id}' ({roles}): {error}"
            ) from error
        tokens = tokenizer.encode(text, add_special_tokens=False)  # the template has written them
    else:
        text = "\n\n".join(m["content"] for m in messages)
        tokens = tokenizer.encode(text)
        # Some tokenizers close every text; after an end-of-sequence token there would be nothing left to say.
        while len(tokens) > 1 and tokens[-1] == tokenizer.eos_token_id:
            tokens.pop()
    return Prompt(problem, np.asarray(tokens, dtype=np.int64), turns, text)
