"""The OpenAI protocol as far as sampling needs it: what a request says, what an answer or a refusal means.

Nothing here speaks to a network. Servers differ in what they do to a field that is left out, in the form of logprobs
and in what they refuse; all of that is in this file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import ConfigError, DataError, short_line
from ngrpo.sampling.sampler import Decoding, Request
from ngrpo.types import Completion, FinishReason

Api = Literal["chat", "completions"]

PATHS: Mapping[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}

_PENALTIES = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
NEUTRAL: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, **_PENALTIES},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, **_PENALTIES},
    "llamacpp": {
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "dynatemp_range": 0.0,
        "mirostat": 0,
        "repeat_penalty": 1.0,
        "dry_multiplier": 0.0,
        **_PENALTIES,
    },
}
"""By `owned_by` of /v1/models: fields that switch off what a server does to the distribution on its own account.

vLLM and SGLang take defaults from the model's generation_config.json (Qwen's: top_k 20, repetition_penalty 1.05),
llama.cpp has some of its own (top_k 40, min_p 0.05).
"""

_INCLUDE_STOP: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"include_stop_str_in_output": True},
    "sglang": {"no_stop_trim": True},
}
"""By `owned_by` of /v1/models: the field that keeps a stop string in the text."""
_NO_TEMPLATE = re.compile(
    r"chat[ _]template.*(no longer allowed|not (set|defined|found|available|supported)|provide|missing|does not|has no)"
    r"|(no|without|missing|provide|lacks?) (a |any |the )?chat[ _]template",
    re.IGNORECASE | re.DOTALL,
)
_LARGEST_LOGPROB = 1e30
"""What fits float32 with room for a sum."""
_MOST_TOKENS = 1 << 24
"""More completion tokens than this are no count, but a broken answer."""


class UnusableAnswerError(Exception):
    """An answer that is no result: torn, cut off by a server that shuts down, or of no known form."""


class WithheldError(Exception):
    """An answer without its completion, which a content filter has withheld."""


class Form(NamedTuple):
    """How completions are asked for; it changes where the server refuses the first choice."""

    api: Api
    logprobs: bool


def request_body(request: Request, decoding: Decoding, form: Form, server: str) -> tuple[Api, dict[str, Any]]:
    """Returns the interface and the body that ask for one completion, but for the model and the seed.

    A prompt without messages goes to `completions` whatever the form says, one without tokens is sent as text.

    Raises:
        DataError: for a prompt with neither.
        ConfigError: for a decoding that the server has no field for.
    """
    prompt = request.prompt
    api: Api = form.api if prompt.messages else "completions"
    own = _own_fields(decoding, server)
    body: dict[str, Any] = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "max_tokens": decoding.max_completion_tokens,
        "n": 1,
        "stream": False,
        **NEUTRAL.get(server, {}),
        **own,
    }
    if api == "chat":
        body["messages"] = [{"role": message.role, "content": message.content} for message in prompt.messages]
        if (
            prompt.messages[-1].role == "assistant"
        ):  # [task] prefill or continue_final_message; vLLM and SGLang know both fields
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if prompt.template_variables:
            body["chat_template_kwargs"] = dict(prompt.template_variables)
    elif len(prompt.tokens):
        body["prompt"] = prompt.tokens.tolist()
    elif prompt.messages:
        body["prompt"] = "\n\n".join(message.content for message in prompt.messages)
    elif prompt.text:  # [task] chat = false, of a server's own tokenizer
        body["prompt"] = prompt.text
    else:
        raise DataError(f"problem '{prompt.problem.id}' has an empty prompt: there is nothing to continue")
    if form.logprobs and _plain(decoding):
        # vLLM gives the sampled token's logprob for 0 further ones; elsewhere 0 is none at all.
        body["logprobs"] = True if api == "chat" else 0 if server == "vllm" else 1
    if server == "vllm":
        body["return_token_ids"] = True
    return api, body


def _own_fields(decoding: Decoding, server: str) -> dict[str, Any]:
    """Returns the fields of a decoding that are no part of the OpenAI protocol, or not needed by default."""
    fields: dict[str, Any] = {}
    for key, value in (("top_k", decoding.top_k), ("min_p", decoding.min_p)):
        if value and server not in NEUTRAL:
            raise ConfigError(
                f"[evaluation] {key} is {value:g}, but the server is not known to take it (vLLM, SGLang and llama.cpp "
                f"do); give it as [endpoint] body = {{{key} = {value:g}}} if it does"
            )
        if value:
            fields[key] = value
    if decoding.stop:
        fields["stop"] = list(decoding.stop)
        if decoding.include_stop and server not in _INCLUDE_STOP:
            raise ConfigError(
                "[sampling] include_stop is true, but the server is not known to keep a stop string in the text "
                "(vLLM and SGLang do)"
            )
        if decoding.include_stop:
            fields |= _INCLUDE_STOP[server]
    return fields


def after_refusal(form: Form, message: str, *, may_leave_chat: bool) -> Form | None:
    """Returns the form to go on with after a refusal (400 or 422), None where another form would not help."""
    if form.api == "chat" and may_leave_chat and _NO_TEMPLATE.search(message):
        return form._replace(api="completions")
    if form.logprobs and re.search(r"log_?prob", message, re.IGNORECASE):
        return form._replace(logprobs=False)
    return None


def completion_of(answer: Any, api: Api, decoding: Decoding) -> Completion:
    """Returns the completion in the JSON of an answer.

    Tokens are -1 where the server does not name them, logprobs NaN where it does not give those that the tokens were
    sampled with: servers report the model's own logprobs, which are these at temperature 1 without truncation alone. At
    temperature 0 they are 0.

    Raises:
        UnusableAnswerError: when it is no whole result: also for a finish reason other than "stop" and "length", with
            which a server that is shut down hands out the part that it has.
        WithheldError: for the finish reason "content_filter".
    """
    try:
        choice = answer["choices"][0]
        reason = choice["finish_reason"]
        if reason == "content_filter":
            raise WithheldError("content_filter")
        text = _chat_text(choice["message"]) if api == "chat" else choice["text"]
        usage = answer.get("usage") or {}
        count, ids, logprobs = usage.get("completion_tokens"), choice.get("token_ids"), _logprobs(choice)
        tokens = None if ids is None else _token_ids(ids)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UnusableAnswerError(f"an answer without the usual fields: {short_line(json.dumps(answer))}") from error
    if reason not in ("stop", "length"):
        raise UnusableAnswerError(f"an answer that ends with finish_reason {short_line(json.dumps(reason))}")
    if not isinstance(text, str):
        raise UnusableAnswerError(f"an answer whose text is {short_line(json.dumps(text))}")
    if tokens is None:
        known = count if count is not None else len(logprobs)
        if isinstance(known, bool) or not isinstance(known, int) or not 0 <= known <= _MOST_TOKENS:
            raise UnusableAnswerError(f"an answer of {short_line(json.dumps(known))} tokens")
        tokens = np.full(known, -1, dtype=np.int64)
    elif count is not None and count != len(tokens):
        raise UnusableAnswerError(f"an answer that counts {short_line(json.dumps(count))} tokens and has {len(tokens)}")
    finish: FinishReason = "stop" if reason == "stop" else "length"
    return Completion(text, tokens, _sampled_with(logprobs, len(tokens), decoding), finish)


def message_of(text: str) -> str:
    """Returns what the body of a refusal says, as one line."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return short_line(text) or "no reason given"
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return short_line(said if isinstance(said, str) else json.dumps(said)) or "no reason given"


def _plain(decoding: Decoding) -> bool:
    return decoding.temperature == 1.0 and decoding.top_p == 1.0 and not (decoding.top_k or decoding.min_p)


def _sampled_with(logprobs: list[float], count: int, decoding: Decoding) -> NDArray[np.float32]:
    if decoding.temperature == 0.0:
        return np.zeros(count, dtype=np.float32)  # the likeliest token was certain
    if not _plain(decoding) or len(logprobs) != count:
        return np.full(count, np.nan, dtype=np.float32)
    return np.asarray(logprobs, dtype=np.float32)


def _logprobs(choice: Mapping[str, Any]) -> list[float]:
    """Returns the logprobs of a choice in either form (llama.cpp gives chat's in both), NaN for one that is none."""
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return []
    if isinstance(content := given.get("content"), list):
        values = [entry.get("logprob") for entry in content]
    else:
        values = given.get("token_logprobs") or []
    return [_logprob(value) for value in values]


def _logprob(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    return number if abs(number) <= _LARGEST_LOGPROB else math.nan


def _token_ids(ids: list[Any]) -> NDArray[np.int64]:
    if not isinstance(ids, list) or any(type(token) is not int or token < 0 for token in ids):
        raise TypeError("token_ids")
    return np.asarray(ids, dtype=np.int64)


def _chat_text(message: Mapping[str, Any]) -> Any:
    """Returns the whole of what the model wrote: reasoning that the server split off stands before the content."""
    reasoning = message.get("reasoning_content") or message.get("reasoning")  # the second is vLLM's newer name
    content = message.get("content")
    if isinstance(reasoning, str):
        return f"{reasoning}\n\n{content}" if content else reasoning
    return "" if content is None else content
