from __future__ import annotations

import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.errors import ConfigError, DataError, SamplerError
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.endpoint import requesting
from ngrpo.sampling.endpoint.endpoint_sampler import EndpointSampler
from ngrpo.sampling.endpoint.protocol import Form, request_body
from ngrpo.sampling.sampler import Request
from ngrpo.sampling.streams import stream_key
from ngrpo.types import Completion, Message, Problem
from tests.busy import slowdown
from tests.sampling.endpoint.fake_endpoint import FakeServer, Fault, running

PLAIN = Decoding(1.0, 1.0, 8)
KEY = "sk-not-to-be-seen"
NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the "
    "tokenizer does not define one."
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running() as fake:
        yield fake


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requesting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(requesting, "LONGEST_PAUSE_SECONDS", 0.1)


def prompt_of(name: str, tokens: list[int] | None = None) -> Prompt:
    messages = (Message("system", "be brief"), Message("user", f"question {name}"))
    return Prompt(Problem(name, f"question {name}", "1"), np.asarray(tokens or [], dtype=np.int64), messages)


def wanted(problems: int, samples: int, tokens: list[int] | None = None) -> list[Request]:
    return [Request(prompt_of(f"p{i}", tokens), j) for i in range(problems) for j in range(samples)]


def seed_of(request: Request, seed: int = 3, round_name: str = "evaluation") -> int:
    return stream_key(seed, round_name, request.prompt.problem.id, request.sample) & 0x7FFFFFFF


def sampled(sampler: EndpointSampler, requests: list[Request], decoding: Decoding = PLAIN) -> dict[int, Completion]:
    """The completions by index, each of which must come once."""
    out: dict[int, Completion] = {}
    for index, completion in sampler.stream(requests, decoding, seed=3, round_name="evaluation"):
        assert index not in out
        out[index] = completion
    assert sorted(out) == list(range(len(requests)))
    return out


def check(out: dict[int, Completion], requests: list[Request]) -> None:
    """Every completion must be the one of its own request."""
    for index, request in enumerate(requests):
        seed = seed_of(request)
        count = seed % 8 + 1
        assert out[index].text == f"text {seed}"
        assert out[index].finish_reason == ("length" if count == 8 else "stop")
        assert out[index].tokens.tolist() == [seed % 1000 + i for i in range(count)]
        expected = np.asarray([-(seed % 97 + i) / 100 for i in range(count)], dtype=np.float32)
        assert out[index].logprobs.tolist() == expected.tolist()


def once_each(bodies: list[dict[str, Any]]) -> bool:
    return max(Counter(body["seed"] for body in bodies).values()) == 1


# What is sent.


def test_completions_send_tokens_neutral_fields_and_a_seed_each(server: FakeServer) -> None:
    requests = wanted(3, 4, tokens=[5, 6, 7])
    sampler = server.sampler(api="completions", body={"stop": ["\n\n"], "top_k": 7})
    check(sampled(sampler, requests), requests)
    assert sorted(body["seed"] for body in server.bodies()) == sorted(map(seed_of, requests))
    assert {path for path, _, _ in server.seen} == {"/v1/completions"}
    for body in server.bodies():
        del body["seed"]
        assert body == {
            "model": "m",
            "prompt": [5, 6, 7],
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 8,
            "n": 1,
            "stream": False,
            "top_k": 7,  # the user's, over ours
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 0,
            "return_token_ids": True,
            "stop": ["\n\n"],
        }


def test_completions_without_a_tokenizer_send_text(server: FakeServer) -> None:
    sampled(server.sampler(api="completions"), wanted(1, 1))
    assert server.bodies()[0]["prompt"] == "be brief\n\nquestion p0"


def test_chat_sends_the_messages(server: FakeServer) -> None:
    requests = wanted(2, 2, tokens=[5])
    check(sampled(server.sampler(), requests), requests)
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    body = server.bodies()[0]
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["logprobs"] is True
    assert "prompt" not in body


def test_a_final_assistant_message_is_continued_by_the_server() -> None:
    turns = (Message("user", "1+1?"), Message("assistant", "<think>"))
    for messages, continued in ((turns, True), (turns[:1], False)):
        prompt = Prompt(Problem("p", "", ""), np.empty(0, dtype=np.int64), messages)
        _, body = request_body(Request(prompt, 0), Decoding(), Form("chat", logprobs=False), "vllm")
        assert body.get("continue_final_message", False) == continued
        assert body.get("add_generation_prompt", True) != continued


def test_a_decoding_becomes_the_fields_of_the_server_or_one_line() -> None:
    request, form = Request(Prompt(Problem("p", "", ""), np.arange(3)), 0), Form("completions", logprobs=True)
    decoding = Decoding(1.0, 1.0, 8, top_k=5, min_p=0.1, stop=("\n", "Q:"), include_stop=True)
    wanted = {"top_k": 5, "min_p": 0.1, "stop": ["\n", "Q:"]}
    for kind, kept in (("vllm", {"include_stop_str_in_output": True}), ("sglang", {"no_stop_trim": True})):
        _, body = request_body(request, decoding, form, kind)
        assert {key: body[key] for key in (*wanted, *kept)} == {**wanted, **kept}
        assert "logprobs" not in body  # a server's are those of the whole softmax
    for kind, without, message in (
        ("llamacpp", {}, r"^\[sampling\] include_stop is true, but the server is not known"),
        ("somebody", {"include_stop": False}, r"^\[evaluation\] top_k is 5, but the server is not known to take it"),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            request_body(request, replace(decoding, **without), form, kind)
        assert "\n" not in str(error.value)
    assert request_body(request, Decoding(stop=("x",)), form, "somebody")[1]["stop"] == ["x"]


@pytest.mark.parametrize(
    ("kind", "top_k", "logprobs"), [("sglang", -1, 1), ("llamacpp", 0, 1), ("somebody", None, 1), ("vllm", 0, 0)]
)
def test_each_kind_of_server_is_told_to_leave_the_distribution_alone(
    kind: str, top_k: int | None, logprobs: int
) -> None:
    with running(kind) as fake:
        sampler = fake.sampler(api="completions")
        out = sampled(sampler, wanted(1, 3))
        assert sampler.server == kind
        body = fake.bodies()[0]
        assert body.get("top_k") == top_k
        assert body["logprobs"] == logprobs
        assert ("return_token_ids" in body) == (kind == "vllm")
        assert all((c.tokens == -1).all() == (kind != "vllm") for c in out.values())
        assert not any(np.isnan(c.logprobs).any() for c in out.values())


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_address_may_hold_the_version_or_not(server: FakeServer, suffix: str) -> None:
    sampler = server.sampler(url=f"http://127.0.0.1:{server.port}{suffix}")
    assert (sampler.model, sampler.server, sampler.max_model_len) == ("m", "vllm", 100)
    sampled(sampler, wanted(1, 1))
    assert server.seen[0][0] == "/v1/chat/completions"


def test_no_more_requests_than_allowed_are_under_way(server: FakeServer) -> None:
    server.fault = lambda *_request: ("slow", 0.02)
    sampled(server.sampler(concurrency=3), wanted(4, 8))
    assert server.most_under_way == 3
    assert once_each(server.bodies())


def test_completions_come_as_they_finish(server: FakeServer) -> None:
    requests = wanted(1, 4)
    slow = seed_of(requests[0])
    server.fault = lambda _number, _path, body: ("slow", 0.3) if body["seed"] == slow else None
    order = [index for index, _ in server.sampler().stream(requests, PLAIN, seed=3, round_name="evaluation")]
    assert order[-1] == 0


def test_no_requests_are_no_completions(server: FakeServer) -> None:
    assert sampled(server.sampler(), []) == {}
    assert server.seen == []


def test_sample_gives_each_prompt_its_own(server: FakeServer) -> None:
    prompts = [prompt_of("a"), prompt_of("b")]
    rows = server.sampler().sample(prompts, range(3), PLAIN, seed=3, round_name="evaluation")
    expected = [[f"text {seed_of(Request(prompt, i))}" for i in range(3)] for prompt in prompts]
    assert [[completion.text for completion in row] for row in rows] == expected


def test_half_a_surrogate_pair_can_be_sent(server: FakeServer) -> None:
    prompt = Prompt(Problem("p", "", ""), np.empty(0, dtype=np.int64), (Message("user", "a \ud800 b"),))
    sampled(server.sampler(), [Request(prompt, 0)])
    assert server.bodies()[0]["messages"][0]["content"] == "a \ud800 b"


# What is understood.


def test_logprobs_are_given_only_where_they_are_those_of_the_draw(server: FakeServer) -> None:
    sampler = server.sampler()
    assert all(np.isnan(c.logprobs).all() for c in sampled(sampler, wanted(1, 4), Decoding(0.6, 0.95, 8)).values())
    assert all((c.logprobs == 0).all() for c in sampled(sampler, wanted(1, 4), Decoding(0.0, 1.0, 8)).values())
    assert not any("logprobs" in body for body in server.bodies())


def test_reasoning_that_the_server_split_off_stands_before_the_content(server: FakeServer) -> None:
    texts = []
    for message in (
        {"reasoning_content": "so", "content": "3"},
        {"reasoning": "so", "content": "3"},
        {"reasoning_content": "so", "content": None},
        {"content": None},
    ):
        choice = {"message": message, "finish_reason": "stop"}
        server.fault = lambda *_request, choice=choice: ("instead", {"choices": [choice]})  # type: ignore[misc]
        texts.append(sampled(server.sampler(), wanted(1, 1))[0].text)
    assert texts == ["so\n\n3", "so\n\n3", "so", ""]


def test_an_answer_without_counts_has_as_many_tokens_as_logprobs() -> None:
    with running("somebody") as fake:
        logprobs = {"content": [{"logprob": -1.5}, {"logprob": None}]}  # llama.cpp's form, with a hole
        choice = {"text": "a b", "finish_reason": "length", "logprobs": logprobs}
        fake.fault = lambda *_request: ("instead", {"choices": [choice]})
        completion = sampled(fake.sampler(api="completions"), wanted(1, 1))[0]
        assert completion.tokens.tolist() == [-1, -1]
        assert completion.logprobs[0] == -1.5
        assert math.isnan(completion.logprobs[1])


def test_logprobs_of_another_number_than_tokens_are_unknown() -> None:
    with running("somebody") as fake:
        choice = {"text": "a", "finish_reason": "stop", "logprobs": {"token_logprobs": [-1.0]}}
        fake.fault = lambda *_request: ("instead", {"choices": [choice], "usage": {"completion_tokens": 2}})
        completion = sampled(fake.sampler(api="completions"), wanted(1, 1))[0]
        assert completion.tokens.tolist() == [-1, -1]
        assert np.isnan(completion.logprobs).all()


def test_a_server_that_cuts_completions_short_is_told_of_once(server: FakeServer) -> None:
    said: list[str] = []
    sampled(server.sampler(on_message=said.append), wanted(4, 8), Decoding(1.0, 1.0, 50))
    assert len(said) == 1
    assert said[0].startswith("the server cuts completions at ")
    assert said[0].endswith("below max_completion_tokens, 50")


# What the server refuses.


def test_without_a_chat_template_completions_are_used(server: FakeServer) -> None:
    refused = ("status", (400, {}, json.dumps({"error": {"message": NO_TEMPLATE}})))
    server.fault = lambda _number, path, _body: refused if "chat" in path else None
    said: list[str] = []
    requests = wanted(4, 4, tokens=[5])
    sampler = server.sampler(on_message=said.append)
    check(sampled(sampler, requests), requests)
    assert said == ["the server has no chat template for this model: prompts are sent as completions"]
    assert sampler.api == "completions"
    before = len(server.seen)
    sampled(sampler, requests)  # now known
    assert {path for path, _, _ in server.seen[before:]} == {"/v1/completions"}


def test_chat_that_was_asked_for_is_not_left(server: FakeServer) -> None:
    server.fault = lambda *_request: ("status", (400, {}, json.dumps({"error": {"message": NO_TEMPLATE}})))
    out = sampled(server.sampler(api="chat", concurrency=1), wanted(2, 2))
    assert all(completion.refusal.startswith("400: As of transformers") for completion in out.values())


def test_chat_that_has_worked_is_not_left(server: FakeServer) -> None:
    refused = ("status", (400, {}, json.dumps({"error": {"message": NO_TEMPLATE}})))
    server.fault = lambda number, _path, _body: refused if number > 1 else None
    out = sampled(server.sampler(concurrency=1), wanted(2, 2))
    assert [out[i].finish_reason == "refused" for i in range(4)] == [False, True, True, True]
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}


@pytest.mark.parametrize("status", [400, 422])
def test_without_logprobs_it_goes_on_without(server: FakeServer, status: int) -> None:
    refused = ("status", (status, {}, json.dumps({"error": "logprobs is not supported"})))
    server.fault = lambda _number, _path, body: refused if "logprobs" in body else None
    said: list[str] = []
    out = sampled(server.sampler(on_message=said.append), wanted(4, 4))
    assert said == ["the server gives no logprobs: logprobs is not supported"]
    assert all(np.isnan(completion.logprobs).all() for completion in out.values())


@pytest.mark.parametrize("status", [401, 403, 404, 301])
def test_a_refusal_ends_it_at_once_with_the_servers_words(server: FakeServer, status: int) -> None:
    text = json.dumps({"error": {"message": "no,\nnever"}})
    server.fault = lambda *_request: ("status", (status, {"Location": "http://elsewhere/"}, text))
    with pytest.raises(ConfigError) as caught:
        sampled(server.sampler(concurrency=1), wanted(2, 8))
    said = "it redirects to http://elsewhere/" if status == 301 else "no, never"
    message = f"the server at http://127.0.0.1:{server.port}/v1 refuses the request for problem 'p0' ({status}): {said}"
    assert str(caught.value).split(";")[0] == message
    assert ("api_key_env" in str(caught.value)) == (status in (401, 403))
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 413, 422, 451])
def test_a_request_that_is_refused_three_times_is_given_up_and_the_others_go_on(
    server: FakeServer, status: int
) -> None:
    requests = wanted(3, 4)
    poison = seed_of(requests[5])
    refused = ("status", (status, {}, json.dumps({"error": {"message": "context length\nexceeded"}})))
    server.fault = lambda _number, _path, body: refused if body["seed"] == poison else None
    out = sampled(server.sampler(concurrency=2), requests)
    lost = out.pop(5)
    assert (lost.text, lost.tokens.tolist(), lost.finish_reason) == ("", [], "refused")
    assert lost.refusal == f"{status}: context length exceeded"
    assert [out[i].text for i in out] == [f"text {seed_of(requests[i])}" for i in out]
    assert Counter(body["seed"] for body in server.bodies())[poison] == 3
    assert len(server.seen) == 14


def test_a_completion_that_a_filter_withholds_is_given_up_after_three_tries(server: FakeServer) -> None:
    server.fault = lambda _number, _path, body: ("finish", "content_filter") if body["seed"] % 2 else None
    requests = wanted(2, 8)
    out = sampled(server.sampler(), requests)
    odd = [i for i, request in enumerate(requests) if seed_of(request) % 2]
    assert [i for i in range(16) if out[i].finish_reason == "refused"] == odd
    assert {out[i].refusal for i in odd} == {"content_filter"}
    assert len(server.seen) == 16 + 2 * len(odd)


def test_a_refusal_that_passes_is_no_loss(server: FakeServer) -> None:
    tried: Counter[int] = Counter()

    def first_two_tries(_number: int, _path: str, body: dict[str, Any]) -> Fault | None:
        tried[body["seed"]] += 1
        return ("status", (400, {}, "hiccup")) if tried[body["seed"]] <= 2 else None

    server.fault = first_two_tries
    requests = wanted(2, 3)
    check(sampled(server.sampler(), requests), requests)


@pytest.mark.parametrize(
    "fault", [("status", (500, {}, "cannot tokenize")), ("drop", 20), ("finish", "error"), ("instead", {})], ids=str
)
def test_a_request_that_always_fails_while_others_are_answered_is_given_up(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("ngrpo.sampling.endpoint.tries.FAILURES", 6)
    requests = wanted(1, 150)
    poison = seed_of(requests[0])
    server.fault = lambda _number, _path, body: fault if body["seed"] == poison else ("slow", 0.02)
    out = sampled(server.sampler(concurrency=4, patience_seconds=30.0), requests)
    lost = out.pop(0)
    assert lost.finish_reason == "refused"
    assert re.search(r" \(\d+ tries\)$", lost.refusal)
    assert not [completion for completion in out.values() if completion.finish_reason == "refused"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_never_costs_a_completion(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("ngrpo.sampling.endpoint.tries.FAILURES", 2)
    requests = wanted(1, 60)
    poor, tries = seed_of(requests[0]), iter(range(8))
    busy = ("status", (status, {}, "busy"))
    server.fault = lambda _number, _path, body: (
        busy if body["seed"] == poor and next(tries, None) is not None else ("slow", 0.02)
    )
    check(sampled(server.sampler(concurrency=4), requests), requests)


@pytest.mark.parametrize("text", ['{"detail": [{"msg": "bad"}]}', '{"object": "error", "message": "bad"}', "bad", ""])
def test_refusals_of_any_form_are_one_line(server: FakeServer, text: str) -> None:
    server.fault = lambda *_request: ("status", (400, {}, text))
    said = sampled(server.sampler(), wanted(1, 1))[0].refusal
    assert said.startswith("400: ")
    assert ("bad" if text else "no reason given") in said
    assert "\n" not in said


# What goes wrong on the way.

FAULTS: list[Fault] = [
    ("status", (503, {}, "loading")),
    ("status", (500, {}, '{"error": {"message": "engine died"}}')),
    ("status", (408, {}, "")),
    ("status", (409, {}, "")),
    ("status", (425, {}, "")),
    ("status", (429, {"Retry-After": "0.05"}, "busy")),
    ("status", (502, {"Retry-After": "nonsense"}, "<html>Bad Gateway</html>")),
    ("status", (204, {}, "")),
    ("drop", 0),
    ("drop", 20),
    ("torn", 60),
    ("torn", 0),
    ("finish", "abort"),
    ("finish", "error"),
    ("finish", None),
    ("instead", []),
    ("instead", {"choices": []}),
    ("instead", {"choices": [{"text": 3, "message": {"content": 3}, "finish_reason": "stop"}]}),
    ("instead", {"error": {"message": "as 200"}}),
    (
        "instead",
        {
            "choices": [{"message": {"content": "a"}, "finish_reason": "stop", "token_ids": [1, 2]}],
            "usage": {"completion_tokens": 3},
        },
    ),
    (
        "instead",
        {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 1e15}},
    ),
    ("slow", 3.0),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_failed_try_is_tried_again(server: FakeServer, fault: Fault) -> None:
    tried: Counter[int] = Counter()

    def first_two_tries(_number: int, _path: str, body: dict[str, Any]) -> Fault | None:
        tried[body["seed"]] += 1
        return fault if tried[body["seed"]] <= 2 else None

    server.fault = first_two_tries
    requests = wanted(2, 3)
    retries: list[int] = []
    # Long enough that no good answer is late on a busy machine: it would be one more try.
    timeout = 1.5 if fault[0] == "slow" else 30.0
    sampler = server.sampler(timeout_seconds=timeout, on_retry=lambda count, _reason: retries.append(count))
    check(sampled(sampler, requests), requests)
    assert retries == list(range(1, 13))
    assert set(tried.values()) == {3}


def test_retry_after_is_honoured(server: FakeServer) -> None:
    # A date has whole seconds: two from now is between one and two away, if it is made only now.
    for value_now, least in ((lambda: "0.4", 0.4), (lambda: formatdate(time.time() + 2.0, usegmt=True), 0.9)):
        value = value_now()
        before = len(server.seen)
        busy = ("status", (429, {"Retry-After": value}, "busy"))
        server.fault = lambda number, *_rest, first=before + 1, busy=busy: busy if number == first else None  # type: ignore[misc]
        start = time.monotonic()
        sampled(server.sampler(), wanted(1, 1))
        assert least <= time.monotonic() - start < 5.0 * slowdown()


@settings(max_examples=25, deadline=None)
@given(plan=st.lists(st.sampled_from([None, *FAULTS[:-1]]), max_size=60), concurrency=st.integers(1, 9))
def test_nothing_is_lost_or_doubled_whatever_goes_wrong(plan: list[Fault | None], concurrency: int) -> None:
    with running() as fake:
        fake.fault = lambda number, *_rest: plan[number - 1] if number <= len(plan) else None
        requests = wanted(5, 3)
        check(sampled(fake.sampler(concurrency=concurrency), requests), requests)
        failed = sum(fault is not None for fault in plan[: len(fake.seen)])
        assert len(fake.seen) == len(requests) + failed


def test_a_server_that_is_stopped_and_started_again_is_waited_for(server: FakeServer) -> None:
    server.fault = lambda *_request: ("slow", 0.02)
    requests = wanted(8, 16)
    reasons: list[str] = []
    out: dict[int, Completion] = {}
    sampler = server.sampler(concurrency=8, on_retry=lambda _count, reason: reasons.append(reason))
    for index, completion in sampler.stream(requests, PLAIN, seed=3, round_name="evaluation"):
        assert index not in out
        out[index] = completion
        if len(out) in (20, 70):
            server.stop()
            threading.Timer(0.5, server.start).start()
    check(out, requests)
    assert sorted(out) == list(range(len(requests)))
    assert reasons


def test_patience_ends_when_nothing_succeeds(server: FakeServer) -> None:
    server.fault = lambda *_request: ("status", (503, {}, "loading"))
    sampler = server.sampler(patience_seconds=0.5)
    start = time.monotonic()
    with pytest.raises(SamplerError) as caught:
        sampled(sampler, wanted(1, 4))
    assert 0.4 < time.monotonic() - start < 5.0 * slowdown()
    assert re.fullmatch(
        rf"no answer from http://127.0.0.1:{server.port}/v1 for \d+ s: 503: loading",
        str(caught.value),
    )
    assert caught.value.exit_status == 1


def test_patience_ends_with_a_server_that_went_away(server: FakeServer) -> None:
    sampler = server.sampler(patience_seconds=0.5)
    server.stop()
    with pytest.raises(SamplerError, match=r"for \d+ s: .*(onnect|refused)"):
        sampled(sampler, wanted(1, 4))


def test_patience_lasts_as_long_as_something_succeeds(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngrpo.sampling.endpoint.tries.FAILURES", 1000)
    start = time.monotonic()
    poor = seed_of(Request(prompt_of("p0"), 0))

    def fault(_number: int, _path: str, body: dict[str, Any]) -> Fault:
        if body["seed"] == poor and time.monotonic() - start < 1.0:
            return ("status", (500, {}, ""))
        return ("slow", 0.05)

    server.fault = fault
    requests = wanted(1, 60)
    check(sampled(server.sampler(patience_seconds=0.5, concurrency=2), requests), requests)
    assert time.monotonic() - start > 1.0


def test_the_first_failure_after_a_long_draw_is_not_the_end(server: FakeServer) -> None:
    def fault(number: int, _path: str, _body: dict[str, Any]) -> Fault | None:
        time.sleep(0.6 if number == 1 else 0.0)
        return ("finish", "abort") if number == 1 else None

    server.fault = fault
    sampled(server.sampler(patience_seconds=0.4), wanted(1, 1))


# Leaving early.


def test_closing_early_stops_the_requests_and_does_not_wait(server: FakeServer) -> None:
    server.fault = lambda number, *_rest: ("slow", 30.0) if number > 3 else None
    stream = server.sampler(concurrency=4).stream(wanted(10, 10), PLAIN, seed=3, round_name="evaluation")
    next(stream)
    start = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 3.0 * slowdown()
    time.sleep(1.0)  # a busy server sees late what was sent before the end
    sent = len(server.seen)
    time.sleep(0.2)
    assert len(server.seen) == sent <= 8
    assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


def test_an_error_of_a_callback_ends_the_draw(server: FakeServer) -> None:
    def interrupted(_count: int, _reason: str) -> None:
        raise KeyboardInterrupt

    server.fault = lambda *_request: ("finish", "abort")
    with pytest.raises(KeyboardInterrupt):
        sampled(server.sampler(on_retry=interrupted), wanted(1, 4))
    assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


def test_what_is_not_yet_taken_and_what_is_under_way_are_no_more_than_the_concurrency(server: FakeServer) -> None:
    requests = wanted(1, 40)
    out = {}
    for index, completion in server.sampler(concurrency=2).stream(requests, PLAIN, seed=3, round_name="evaluation"):
        time.sleep(0.5 if not out else 0.01)
        assert len(server.seen) <= len(out) + 2
        out[index] = completion
    check(out, requests)


# The start.


def test_a_model_that_is_not_served_is_named_with_those_that_are(server: FakeServer) -> None:
    server.models = ["a/b", "c"]
    with pytest.raises(ConfigError, match=r"does not serve the model 'm'; it serves: 'a/b', 'c'$"):
        server.sampler()


def test_a_server_that_is_not_there_is_an_error_after_a_while(server: FakeServer) -> None:
    server.stop()
    said: list[str] = []
    with pytest.raises(SamplerError, match=rf"^no answer from http://127.0.0.1:{server.port}/v1 for 3 s: .+"):
        server.sampler(start_seconds=3.0, on_message=said.append)
    assert len(said) == 1
    assert said[0].startswith("waiting for the server at ")


def test_a_server_that_starts_late_is_waited_for(server: FakeServer) -> None:
    loading = time.monotonic() + 0.3
    server.on_models = lambda: ("status", (503, {}, "loading")) if time.monotonic() < loading else None
    assert server.sampler().model == "m"


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, '{"error": "who are you"}', r"refuses the key \(401\): who are you; \[endpoint\] api_key_env"),
        (404, "", r"is not an OpenAI-compatible server: /models is refused \(404\): no reason given"),
        (200, "hello", r"is not an OpenAI-compatible server: /models gives no list of models"),
        (200, '{"data": 3}', r"/models gives no list of models"),
        (200, '{"data": ["m"]}', r"/models gives no list of models"),
    ],
)
def test_what_is_no_such_server_is_said_at_once(server: FakeServer, status: int, text: str, said: str) -> None:
    server.on_models = lambda: ("status", (status, {}, text))
    with pytest.raises(ConfigError, match=said):
        server.sampler()


def test_a_prompt_that_does_not_fit_is_found_before_anything_is_drawn(server: FakeServer) -> None:
    requests = [*wanted(1, 1), Request(prompt_of("long", [1] * 93), 0)]
    with pytest.raises(ConfigError, match=r"context is 100 tokens, but the prompt of problem 'long' has 93"):
        sampled(server.sampler(), requests)
    assert server.seen == []


def test_a_prompt_of_nothing_is_an_error(server: FakeServer) -> None:
    nothing = Prompt(Problem("p", "", ""), np.empty(0, dtype=np.int64))
    with pytest.raises(DataError, match="problem 'p' has an empty prompt"):
        sampled(server.sampler(), [Request(nothing, 0)])


def test_a_prompt_without_messages_is_sent_as_tokens(server: FakeServer) -> None:
    bare = Prompt(Problem("p", "", ""), np.array([4, 5]))
    sampled(server.sampler(), [Request(bare, 0)])
    assert server.bodies()[0]["prompt"] == [4, 5]


def test_a_plain_prompt_is_sent_as_text_and_variables_go_to_the_template(server: FakeServer) -> None:
    nothing = np.empty(0, dtype=np.int64)
    sampled(server.sampler(), [Request(Prompt(Problem("p", "", ""), nothing, text="1+1="), 0)])
    assert server.seen[0][0] == "/v1/completions"
    assert server.bodies()[0]["prompt"] == "1+1="
    thinking = Prompt(Problem("q", "", ""), nothing, (Message("user", "1+1?"),), template_variables={"thinking": False})
    sampled(server.sampler(), [Request(thinking, 0)])
    assert server.bodies()[1]["chat_template_kwargs"] == {"thinking": False}
    assert "chat_template_kwargs" not in server.bodies()[0]


# The key.


def test_the_key_is_sent_and_never_shown(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    said: list[str] = []
    sampler = server.sampler(api_key_env="MY_KEY", on_retry=lambda _n, reason: said.append(reason), concurrency=1)
    sampled(sampler, wanted(1, 1))
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"
    busy = ("status", (503, {}, f"busy {KEY}"))
    refused = ("status", (401, {}, f"Incorrect API key provided: {KEY}"))
    server.fault = lambda number, *_rest: busy if number == 2 else refused
    with pytest.raises(ConfigError, match=r"Incorrect API key provided: \*\*\*; \[endpoint\] api_key_env") as caught:
        sampled(sampler, wanted(1, 1))
    assert said == ["503: busy ***"]
    assert KEY not in repr(caught.value) + repr(sampler) + str(said)
    server.on_models = lambda: refused
    with pytest.raises(ConfigError, match=r"\*\*\*"):
        server.sampler(api_key_env="MY_KEY")


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_variable_without_a_key_is_an_error(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match=r"names the environment variable 'MY_KEY', which is not set$"):
        server.sampler(api_key_env="MY_KEY")


def test_a_key_that_no_header_takes_is_not_shown(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\nX: y")
    with pytest.raises(ConfigError, match="is not a valid key") as caught:
        server.sampler(api_key_env="MY_KEY")
    assert KEY not in str(caught.value)


# The table.


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://a/v1", "http://", "http://a:b/", "http://[a/", "http://a/v1?x=1", "http://a b/"],
)
def test_an_address_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(ConfigError, match="'url': must be an address such as http"):
        EndpointSettings.parse({"url": url})


def test_a_password_in_the_address_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(ConfigError, match="'url' must hold no user or password") as caught:
        EndpointSettings.parse({"url": f"http://me:{KEY}@host/v1"})
    assert KEY not in str(caught.value)


def test_fields_that_the_evaluation_decides_are_not_the_users() -> None:
    with pytest.raises(ConfigError, match="'body': must not hold seed, temperature"):
        EndpointSettings.parse({"body": {"temperature": 1, "seed": 3, "top_k": 3}})
