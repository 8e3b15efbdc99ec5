"""vLLM in this process: its own batching and paged cache, for training and evaluation.

In training, vLLM is given the policy's weights after every step. Its kernels are not the trainer's, so its logprobs
differ from those of a pass of the trainer, which computes them anew and logs the gap.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ngrpo.config.vllm_settings import VLLMSettings
from ngrpo.errors import ConfigError, DataError, MissingDependencyError, TrainingError
from ngrpo.sampling.detokenizer import Detokenizer
from ngrpo.sampling.sampler import Decoding, Request, Sampler
from ngrpo.sampling.stop_strings import StopSearch, ended
from ngrpo.sampling.streams import stream_key
from ngrpo.types import Completion

Weights = Iterable[tuple[str, Tensor]]
"""Names and tensors as a Hugging Face checkpoint has them."""


class VLLMModel(NamedTuple):
    """What vLLM loads: a model folder or hub id in a precision, "float32" or "bfloat16".

    `weights` gives the weights, at the start and after every `update_weights`; None for those of the path.
    `untied`: the output head of these weights is not the embedding, whatever the config at the path says.
    """

    path: str
    dtype: str
    weights: Callable[[], Weights] | None = None
    untied: bool = False


_LARGEST_SEED = (1 << 63) - 1
_WAITING = 2
"""Requests that wait inside vLLM for each one that it computes: it needs few, and each costs memory."""


class VLLMSampler(Sampler):
    """Samples completions with vLLM's engine in this process.

    Each completion has its own seed, but vLLM's logits move in their last digits with what else is in the batch: the
    same request can come out differently in another run.

    Args:
        model: what is loaded.
        detokenizer: turns tokens into text.
        stop_tokens: tokens that end a completion.
        settings: the `[vllm]` table.
        max_tokens: longest prompt and completion together.
        max_sequences: completions sampled at the same time, at least 1.

    Raises:
        MissingDependencyError: when vLLM is not installed.
        ConfigError: when vLLM cannot load the model.
    """

    def __init__(
        self,
        model: VLLMModel,
        detokenizer: Detokenizer,
        stop_tokens: Iterable[int],
        settings: VLLMSettings,
        *,
        max_tokens: int,
        max_sequences: int,
    ) -> None:
        self._detokenizer, self._stop_tokens = detokenizer, sorted(stop_tokens)
        self._max_tokens, self._max_sequences = max_tokens, max_sequences
        self._weights = model.weights
        self._llm = _load(
            model.path,
            settings,
            dtype=model.dtype,
            max_model_len=max_tokens,
            max_num_seqs=max_sequences,
            load_format="auto" if model.weights is None else "dummy",
            **({"hf_overrides": {"tie_word_embeddings": False}} if model.untied else {}),
        )
        self._vocabulary_size = int(self._llm.llm_engine.model_config.get_vocab_size())
        if model.weights is not None:
            self.update_weights()

    def update_weights(self) -> None:
        """Gives vLLM the weights as they are now, and forgets what it cached of the old ones."""
        if self._weights is not None:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(self._weights())})
            self._llm.reset_prefix_cache()

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields the index and the completion of each request as they are finished; see `Sampler.stream`.

        Raises:
            ConfigError: when a prompt does not fit the model.
            DataError: for an empty prompt.
            TrainingError: when the model's logits are not finite.
        """
        for request in requests:
            self._check(request, decoding)
        engine, waiting, running = self._llm.llm_engine, iter(enumerate(requests)), set[str]()
        room, ends = self._max_sequences * (1 + _WAITING), _StopStrings(decoding, self._detokenizer, self._stop_tokens)
        try:
            while True:
                for index, request in itertools.islice(waiting, room - len(running)):
                    prompt = {"prompt_token_ids": request.prompt.tokens.tolist()}
                    engine.add_request(str(index), prompt, self._parameters(request, decoding, seed, round_name))
                    running.add(str(index))
                if not running:
                    return
                for output in engine.step():
                    if output.request_id not in running:  # it had a stop string, and what came after is dropped
                        continue
                    length = ends.stop_string_at(output)
                    if not (output.finished or length):
                        continue
                    running.discard(output.request_id)
                    if not output.finished:
                        engine.abort_request([output.request_id])
                    yield int(output.request_id), self._completion(output.outputs[0], decoding, length)
        finally:
            if running:
                engine.abort_request(sorted(running))

    def _check(self, request: Request, decoding: Decoding) -> None:
        prompt, limit = request.prompt, decoding.max_completion_tokens
        if len(prompt.tokens) == 0:
            raise DataError(f"problem '{prompt.problem.id}' has an empty prompt: there is nothing to continue")
        if len(prompt.tokens) + limit > self._max_tokens:
            raise ConfigError(
                f"vLLM was started for {self._max_tokens} tokens, but the prompt of problem '{prompt.problem.id}' has "
                f"{len(prompt.tokens)} and max_completion_tokens is {limit}: raise [sampling] max_prompt_tokens, as "
                "far as the model reads"
            )
        if prompt.tokens.max() >= self._vocabulary_size:
            raise ConfigError(
                f"the tokenizer gives token {prompt.tokens.max()}, but the model knows {self._vocabulary_size} tokens "
                "only: tokenizer and model do not match"
            )

    def _parameters(self, request: Request, decoding: Decoding, seed: int, round_name: str) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p if decoding.temperature > 0 else 1.0,
            top_k=decoding.top_k if decoding.temperature > 0 else 0,
            min_p=decoding.min_p if decoding.temperature > 0 else 0.0,
            max_tokens=decoding.max_completion_tokens,
            seed=stream_key(seed, round_name, request.prompt.problem.id, request.sample) & _LARGEST_SEED,
            stop_token_ids=self._stop_tokens,
            ignore_eos=True,  # the stop tokens are all of them, whatever vLLM reads in the config
            logprobs=0,  # of the sampled token alone
            detokenize=False,
        )

    def _completion(self, output: Any, decoding: Decoding, length: int) -> Completion:
        """Returns a completion that ends with a stop string after `length` tokens, 0 for one without."""
        ids = list(output.token_ids)[: length or None]
        tokens = np.asarray(ids, dtype=np.int64)
        sampled = [step[token].logprob for step, token in zip(output.logprobs, ids, strict=False)]
        logprobs = np.asarray(sampled, dtype=np.float32)
        if np.isnan(logprobs).any():
            raise TrainingError("the model's logits are no longer finite: training has diverged")
        if decoding.temperature == 0:
            logprobs = np.zeros_like(logprobs)  # the likeliest token was certain
        stopped = not length and output.finish_reason == "stop"
        (text,) = self._detokenizer.texts([ids[: len(ids) - stopped]])
        if length:
            text, _ = ended(text, decoding.stop, keep=decoding.include_stop)
        return Completion(text, tokens, logprobs, "stop" if stopped or length else "length")


class _StopStrings:
    """Finds the stop strings of requests as their tokens come."""

    def __init__(self, decoding: Decoding, detokenizer: Detokenizer, stop_tokens: Sequence[int]) -> None:
        self._search = StopSearch(decoding.stop, detokenizer) if decoding.stop else None
        self._stop_tokens = frozenset(stop_tokens)
        self._seen: dict[str, int] = {}

    def stop_string_at(self, output: Any) -> int:
        """Returns the length in tokens at which a request's completion has a stop string, 0 for one that has none."""
        if self._search is None:
            return 0
        ids, row = output.outputs[0].token_ids, int(output.request_id)
        for place in range(self._seen.get(output.request_id, 0), len(ids)):
            if ids[place] in self._stop_tokens:
                break
            if self._search.hits([row], [ids[place]])[0]:
                return place + 1
        self._seen[output.request_id] = len(ids)
        return 0


def _load(path: str, settings: VLLMSettings, **arguments: Any) -> Any:
    if find_spec("vllm") is None:
        raise MissingDependencyError("vllm", "vllm", "[sampling] sampler 'vllm'")
    # The engine in this process, so that weights are handed over as tensors. Read when vLLM is imported.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(settings.cpu_cache_gib))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # the trainer computes in these threads too
    from vllm import LLM

    if on_cpu:
        _keep_weights_loadable()
    try:
        return LLM(
            path,
            enforce_eager=settings.enforce_eager or on_cpu,
            gpu_memory_utilization=settings.memory_share,
            logprobs_mode="processed_logprobs",  # after temperature and top_p: what tokens were sampled with
            generation_config="vllm",  # no defaults of the model's own: the decoding is said by us
            skip_tokenizer_init=True,
            disable_log_stats=True,
            seed=0,
            **arguments,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"vLLM cannot load '{path}': {_cause(error)}") from error


def _keep_weights_loadable() -> None:
    """On a CPU, keeps linear layers as plain tensors.

    vLLM 0.31 packs them for oneDNN and drops them, after which loading weights again does nothing and says nothing.
    """
    import vllm._custom_ops

    if hasattr(vllm._custom_ops, "_supports_onednn"):
        vllm._custom_ops._supports_onednn = False


def _cause(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)
    return wanted[:300]
