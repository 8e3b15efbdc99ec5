"""Any OpenAI-compatible server as the sampler of an evaluation: vLLM, SGLang, llama.cpp and their like.

The server's weights cannot be updated from here, so it does not train. It may be overloaded, restarted or killed while
an evaluation runs: what it owes is asked for again, until it has not answered for `patience_seconds`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx

from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.errors import ConfigError, DataError, SamplerError, short_line
from ngrpo.sampling.endpoint.connection import LARGEST_ANSWER, FailedTryError, Refusal, Server, failure_of, too_large
from ngrpo.sampling.endpoint.events import Note, Retried, Sampled
from ngrpo.sampling.endpoint.protocol import Form
from ngrpo.sampling.endpoint.requesting import SamplingJob
from ngrpo.sampling.sampler import Decoding, Request, Sampler
from ngrpo.types import Completion

_START_SECONDS = 10.0
_TRY_SECONDS, _PAUSE_SECONDS = 5.0, 0.5


class EndpointSampler(Sampler):
    """Samples completions from a server, one request each, with a seed of its own.

    Whether the same seed gives the same tokens again is the server's affair: logits move in their last digits with what
    else is in its batch.

    Args:
        settings: the `[endpoint]` table.
        model: the name that the server knows the model by.
        start_seconds: how long to wait for a server that does not answer yet.
        on_message: is told what a user should know, such as that the server is waited for.
        on_retry: is told how many tries of the sample have failed and why the last one did; each is tried again.

    Attributes:
        model: the name that the server knows the model by.
        server: what the server calls itself: "vllm", "sglang", "llamacpp" or another name, "" where it does not say.
        max_model_len: longest prompt and completion together, None where the server does not say.

    Raises:
        ConfigError: when the server does not have the model, refuses the key, or is not an OpenAI-compatible server;
            also for a variable named by api_key_env that is not set.
        SamplerError: when the server does not answer.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        model: str,
        *,
        start_seconds: float = _START_SECONDS,
        on_message: Callable[[str], None] = lambda _text: None,
        on_retry: Callable[[int, str], None] = lambda _retries, _reason: None,
    ) -> None:
        self._settings, self._on_message, self._on_retry = settings, on_message, on_retry
        asked = Server(_base_url(settings.url), model, "", _api_key(settings.api_key_env))
        served = _wait_for_models(asked, start_seconds, on_message)
        if model not in served:
            there = short_line(", ".join(f"'{name}'" for name in served)) or "none"
            raise ConfigError(
                f"the server at {asked.url} does not serve the model '{short_line(model, 100)}'; it serves: {there}"
            )
        about = served[model]
        self.model = model
        self.server = str(about.get("owned_by") or "").lower()
        length = about.get("max_model_len")
        self.max_model_len = length if type(length) is int and length > 0 else None
        self._server = Server(asked.url, model, self.server, asked.key)
        self._form = Form("completions" if settings.api == "completions" else "chat", logprobs=True)

    @property
    def api(self) -> str:
        """'chat' or 'completions'; where the setting is 'auto', what the server has accepted so far."""
        return self._form.api

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields the index and the completion of each request as they are finished; see `Sampler.stream`.

        A request that the server refuses or fails again and again while it answers others gives a completion whose
        finish_reason is "refused".

        Raises:
            ConfigError: when the server refuses all requests alike: the key or the model is wrong.
            DataError: for an empty prompt.
            SamplerError: when the server has not answered for `patience_seconds`.
        """
        for request in requests:
            self._check(request, decoding)
        sampling = SamplingJob(self._server, self._settings, self._form, requests, decoding, (seed, round_name))
        try:
            yield from _deliver(sampling, self._on_message, self._on_retry)
        finally:
            self._form = sampling.form

    def _check(self, request: Request, decoding: Decoding) -> None:
        """Raises the errors of a prompt that are known before anything is sampled."""
        prompt, limit = request.prompt, decoding.max_completion_tokens
        length = len(prompt.tokens)
        if length == 0 and not prompt.messages and not prompt.text:
            raise DataError(f"problem '{prompt.problem.id}' has an empty prompt: there is nothing to continue")
        if self.max_model_len is not None and length + limit > self.max_model_len:
            raise ConfigError(
                f"the server's context is {self.max_model_len} tokens, but the prompt of problem "
                f"'{prompt.problem.id}' has {length or 'some'} and max_completion_tokens is {limit}"
            )


def _base_url(url: str) -> str:
    url = url.rstrip("/")
    return url if re.search(r"/v\d+\w*$", url) else url + "/v1"


def _api_key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"[endpoint] api_key_env names the environment variable '{variable}', which is not set")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the environment variable '{variable}' is not a valid key: it has characters that a header cannot hold"
        )
    return key


def _wait_for_models(server: Server, seconds: float, on_message: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Returns the models that the server lists, by name, once it answers."""
    start, told = time.monotonic(), False
    timeout = max(0.1, min(_TRY_SECONDS, seconds))
    with httpx.Client(timeout=timeout, **server.client_options()) as client:
        while True:
            try:
                return _listed_models(client, server)
            except FailedTryError as failure:
                reason = server.without_key(str(failure))
                if time.monotonic() - start >= seconds:
                    raise SamplerError(f"no answer from {server.url} for {seconds:g} s: {reason}") from None
            if not told:
                on_message(f"waiting for the server at {server.url}: {reason}")
                told = True
            time.sleep(min(_PAUSE_SECONDS, max(0.05, seconds / 10)))


def _listed_models(client: httpx.Client, server: Server) -> dict[str, dict[str, Any]]:
    """Returns the models of one answer.

    Raises:
        FailedTryError: when another try may succeed.
        ConfigError: when the server refuses, or has no such list.
    """
    try:
        with client.stream("GET", server.url + "/models") as response:
            body = _body(response)
        server.check_status(response.status_code, response.headers, body)
    except httpx.RequestError as error:
        raise failure_of(error) from error
    except Refusal as refusal:
        said = f"({refusal.status}): {server.without_key(refusal.message)}"
        if refusal.status in (401, 403):
            raise ConfigError(
                f"the server at {server.url} refuses the key {said}; [endpoint] api_key_env names the environment "
                "variable that holds it"
            ) from None
        raise ConfigError(f"{server.url} is not an OpenAI-compatible server: /models is refused {said}") from None
    try:
        return {str(model["id"]): dict(model) for model in json.loads(body)["data"]}
    except (KeyError, RecursionError, TypeError, ValueError):
        raise ConfigError(f"{server.url} is not an OpenAI-compatible server: /models gives no list of models") from None


def _body(response: httpx.Response) -> bytes:
    body, start = bytearray(), time.monotonic()
    for part in response.iter_bytes():
        body += part
        if len(body) > LARGEST_ANSWER:
            raise too_large()
        if time.monotonic() - start > _TRY_SECONDS:
            raise FailedTryError(f"no complete answer within {_TRY_SECONDS:g} s")
    return bytes(body)


def _deliver(
    sampling: SamplingJob, on_message: Callable[[str], None], on_retry: Callable[[int, str], None]
) -> Iterator[tuple[int, Completion]]:
    """Yields what a sampling samples, each completion once, and stops it when nobody wants more.

    Args:
        sampling: not yet started.
        on_message: is told what a user should know.
        on_retry: is told how many tries have failed in this sample, and why the last one did.

    Raises:
        ConfigError: when the server refuses a request.
        SamplerError: when it does not answer any more.
    """
    retries = 0
    sampling.start()
    try:
        while (event := sampling.events.get()) is not None:
            match event:
                case Sampled(index, completion):
                    yield index, completion
                    sampling.taken(index)
                case Retried(reason):
                    retries += 1
                    on_retry(retries, reason)
                case Note(text):
                    on_message(text)
                case BaseException():
                    raise event
    finally:
        sampling.stop()
