"""Answers that no server should give: each is one short reason, and the evaluation goes on."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

import ngrpo.sampling.endpoint.connection as endpoint_server
from ngrpo.errors import ConfigError, SamplerError
from ngrpo.sampling import Decoding
from ngrpo.sampling.endpoint import requesting
from ngrpo.sampling.endpoint.protocol import UnusableAnswerError, WithheldError, completion_of
from ngrpo.sampling.sampler import Request
from tests.sampling.endpoint.fake_endpoint import Fault, running
from tests.sampling.endpoint.test_endpoint_sampler import PLAIN, prompt_of, sampled, seed_of, wanted

GOOD = {"message": {"content": "a"}, "finish_reason": "stop"}


def answer(usage: Any = None, **choice: Any) -> Fault:
    return ("instead", {"choices": [{**GOOD, **choice}], **({} if usage is None else {"usage": usage})})


LONG = "x" * 100_000
UNUSABLE: dict[str, Fault] = {
    "empty body": ("bytes", b""),
    "plain text": ("bytes", b"Internal Server Error"),
    "html": ("bytes", b"<html>" + LONG.encode() + b"</html>"),
    "truncated JSON": ("torn", 40),
    "truncated body": ("drop", 30),
    "connection closed": ("drop", 0),
    "not UTF-8": ("bytes", b'{"choices": "\xff\xfe"}'),
    "NUL bytes": ("bytes", b"\0" * 100),
    "a number of 5,000 digits": ("bytes", b'{"choices": ' + b"9" * 5000 + b"}"),
    "100,000 brackets": ("bytes", b"[" * 100_000),
    "brackets that can be read and not written": ("bytes", b"[" * 900 + b"]" * 900),
    "null": ("instead", None),
    "a number": ("instead", 7),
    "a string": ("instead", LONG),
    "a list": ("instead", [GOOD]),
    "no choices": ("instead", {}),
    "choices null": ("instead", {"choices": None}),
    "choices empty": ("instead", {"choices": []}),
    "choices a table": ("instead", {"choices": {"0": GOOD}}),
    "choice a string": ("instead", {"choices": ["a"]}),
    "an error as 200": ("instead", {"error": {"message": LONG}}),
    "no finish_reason": ("instead", {"choices": [{"message": {"content": "a"}}]}),
    "finish_reason null": answer(finish_reason=None),
    "finish_reason a list": answer(finish_reason=["stop"]),
    "finish_reason unknown and long": answer(finish_reason=LONG),
    "no message": ("instead", {"choices": [{"finish_reason": "stop"}]}),
    "message a string": answer(message="a"),
    "content a number": answer(message={"content": 3}),
    "content parts": answer(message={"content": [{"type": "text", "text": "a"}]}),
    "usage a list": answer([1]),
    "usage true": answer(True),
    "completion_tokens true": answer({"completion_tokens": True}),
    "completion_tokens text": answer({"completion_tokens": "3"}),
    "completion_tokens a fraction": answer({"completion_tokens": 1.5}),
    "completion_tokens negative": answer({"completion_tokens": -1}),
    "completion_tokens huge": answer({"completion_tokens": 10**15}),
    "completion_tokens a list": answer({"completion_tokens": [1]}),
    "token_ids text": answer(token_ids="abc"),  # noqa: S106
    "token_ids of text": answer(token_ids=["1"]),
    "token_ids of bool": answer(token_ids=[True]),
    "token_ids negative": answer(token_ids=[-5]),
    "token_ids beyond 64 bits": answer(token_ids=[2**70]),
    "token_ids and another count": answer({"completion_tokens": 3}, token_ids=[1]),
    "logprobs of numbers": answer(logprobs={"content": [1, 2]}),
    "a logprob beyond any float": answer(logprobs={"content": [{"logprob": 10**400}]}),
    "status 204": ("status", (204, {}, "")),
    "status 500 and a long text": ("status", (500, {}, LONG)),
    "status 599": ("status", (599, {}, '{"error": null}')),
    "gzip that is none": ("status", (200, {"Content-Encoding": "gzip"}, "abc")),
}


@pytest.mark.parametrize("fault", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_answer_is_a_short_reason_and_another_try(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requesting, "FIRST_PAUSE_SECONDS", 0.01)
    tried: Counter[int] = Counter()

    def first_try(_number: int, _path: str, body: dict[str, Any]) -> Fault | None:
        tried[body["seed"]] += 1
        return fault if tried[body["seed"]] == 1 else None

    requests = wanted(1, 2)
    reasons: list[str] = []
    with running() as server:
        server.fault = first_try
        out = sampled(server.sampler(on_retry=lambda _count, reason: reasons.append(reason)), requests)
    assert [out[i].text for i in out] == [f"text {seed_of(requests[i])}" for i in out]
    assert len(reasons) == 2
    for reason in reasons:
        assert 0 < len(reason) < 400
        assert reason.isprintable()


@pytest.mark.parametrize("fault", [UNUSABLE["completion_tokens true"], UNUSABLE["html"], ("finish", "abort")], ids=str)
def test_an_answer_that_is_always_unusable_ends_in_one_short_error(fault: Fault) -> None:
    with running() as server:
        server.fault = lambda *_request: fault
        with pytest.raises(SamplerError, match=r"no answer from .* an answer ") as caught:
            sampled(server.sampler(patience_seconds=0.3), wanted(1, 2))
    assert len(str(caught.value)) < 500


USABLE: dict[str, Any] = {
    "usage null": {"choices": [GOOD], "usage": None},
    "no usage": {"choices": [GOOD]},
    "completion_tokens null": {"choices": [GOOD], "usage": {"completion_tokens": None}},
    "content null": {"choices": [{**GOOD, "message": {"content": None}}]},
    "logprobs text": {"choices": [{**GOOD, "logprobs": "no"}]},
    "logprobs NaN": {"choices": [{**GOOD, "logprobs": {"content": [{"logprob": float("nan")}]}}]},
    "logprobs beyond float32": {"choices": [{**GOOD, "logprobs": {"content": [{"logprob": -1e300}]}}]},
    "logprobs true": {"choices": [{**GOOD, "logprobs": {"content": [{"logprob": True}]}}]},
    "two choices": {"choices": [GOOD, GOOD]},
}


@pytest.mark.parametrize("given", USABLE.values(), ids=USABLE)
def test_an_odd_answer_with_a_completion_is_taken_without_a_warning(given: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        completion = completion_of(json.loads(json.dumps(given)), "chat", PLAIN)
    assert completion.finish_reason == "stop"
    assert len(completion.tokens) == len(completion.logprobs) <= 1
    assert np.isnan(completion.logprobs).all()


def test_nothing_is_allocated_by_the_limit() -> None:
    completion = completion_of({"choices": [GOOD]}, "chat", Decoding(1.0, 1.0, 10**12))
    assert len(completion.tokens) == 0
    with pytest.raises(UnusableAnswerError):
        completion_of(answer({"completion_tokens": 2**24 + 1})[1], "chat", Decoding(1.0, 1.0, 10**12))
    with pytest.raises(WithheldError):
        completion_of({"choices": [{"finish_reason": "content_filter"}]}, "chat", PLAIN)


def test_reading_stops_at_the_largest_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (requesting, endpoint_server):
        monkeypatch.setattr(module, "LARGEST_ANSWER", 10_000)
    reasons: list[str] = []
    with running() as server:
        server.fault = lambda number, *_rest: ("bytes", b" " * 50_000) if number == 1 else None
        sampled(server.sampler(on_retry=lambda _count, reason: reasons.append(reason)), [Request(prompt_of("p"), 0)])
    assert reasons == ["an answer of more than 10,000 bytes"]


@pytest.mark.parametrize(
    "listed",
    ["", "null", "[]", '{"data": null}', '{"data": [null]}', '{"data": [[]]}', '{"data": [{}]}', "[" * 100_000, "\0"],
)
def test_a_list_of_models_that_is_none_is_one_line(listed: str) -> None:
    with running() as server:
        server.on_models = lambda: ("status", (200, {}, listed))
        with pytest.raises(ConfigError, match=r"is not an OpenAI-compatible server: /models gives no list of models$"):
            server.sampler()


@pytest.mark.parametrize("length", [True, "100", -1, 0, 1.5, None, [7]])
def test_a_length_that_is_none_is_no_limit(length: Any) -> None:
    with running() as server:
        server.max_model_len = length
        sampler = server.sampler()
    assert sampler.max_model_len is None


def test_the_key_is_not_shown_in_part_where_a_long_message_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-" + "secret" * 10
    monkeypatch.setenv("MY_KEY", key)
    with running() as server:
        server.fault = lambda *_request: ("status", (400, {}, "." * 280 + key))
        out = sampled(server.sampler(api_key_env="MY_KEY"), wanted(1, 1))
    assert "sk-sec" not in out[0].refusal
