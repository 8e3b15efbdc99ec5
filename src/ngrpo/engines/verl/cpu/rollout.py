"""The sampler `ngrpo_cpu` of verl: transformers in one Ray actor per replica, for models that a CPU can sample from.

Sampling is a function of the seed, the weights' step, the prompt and how often it was asked for, so a run repeats.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import ray
import torch
from verl.workers.rollout import base
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

from ngrpo.kept_tokens import Truncation, kept_counts

NAME = "ngrpo_cpu"


class Server:
    """Holds a copy of the model and samples completions from it, one at a time."""

    def __init__(self, path: str, longest: int, seed: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.end = AutoTokenizer.from_pretrained(path).eos_token_id
        self.longest, self.seed, self.step = longest, seed, -1
        self.asked: Counter[str] = Counter()

    async def update_weights(self, weights: dict[str, torch.Tensor], step: int | None) -> None:
        """Takes the trainer's weights; a name that the model does not have is an error."""
        found = self.model.load_state_dict(weights, strict=False)
        if found.unexpected_keys:
            raise RuntimeError(f"the sampler's model has no weights named {found.unexpected_keys[:3]}")
        self.step = -1 if step is None else int(step)

    async def generate(
        self, request_id: str, *, prompt_ids: Sequence[int], sampling_params: dict[str, Any], **_: Any
    ) -> Any:
        """Returns one completion; not decorated, for Ray must see a coroutine."""
        del request_id
        tokens, logprobs, ended = self._sampled([int(token) for token in prompt_ids], sampling_params)
        return TokenOutput(
            token_ids=tokens,
            log_probs=logprobs,
            stop_reason="completed" if ended else "length",
            extra_fields={"global_steps": self.step},
        )

    @torch.no_grad()
    def _sampled(self, prompt: list[int], settings: dict[str, Any]) -> tuple[list[int], list[float], bool]:
        temperature = settings.get("temperature", 1.0)
        truncation = Truncation(max(0, settings.get("top_k", 0)), settings.get("top_p", 1.0))
        limit = min(settings.get("max_tokens") or self.longest, self.longest)
        key = f"{self.seed}/{self.step}/{prompt}"
        self.asked[key] += 1
        digest = hashlib.blake2b(f"{key}/{self.asked[key]}".encode(), digest_size=7).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
        given, past = torch.tensor([prompt]), None
        tokens: list[int] = []
        logprobs: list[float] = []
        while len(tokens) < limit:
            output = self.model(given, past_key_values=past, use_cache=True)
            past = output.past_key_values
            distribution = torch.log_softmax(output.logits[0, -1].float() / (temperature or 1.0), dim=-1)
            token = (
                int(torch.multinomial(_kept(distribution, truncation), 1, generator=random))
                if temperature
                else int(distribution.argmax())
            )
            tokens.append(token)
            logprobs.append(float(distribution[token]))
            if token == self.end:
                return tokens, logprobs, True
            given = torch.tensor([[token]])
        return tokens, logprobs, False

    async def nothing(self, *_: Any, **__: Any) -> dict[str, Any]:
        """What a server on a GPU does to make room has no counterpart here."""
        return {}

    sleep = wake_up = clear_kv_cache = abort_all_requests = resume_generation = nothing
    release_kv_cache = resume_kv_cache = start_profile = stop_profile = nothing


def _kept(logprobs: torch.Tensor, truncation: Truncation) -> torch.Tensor:
    probabilities = logprobs.exp()
    if truncation.keeps_all:
        return probabilities
    ordered, index = probabilities.sort(descending=True)
    count = int(kept_counts(ordered[None], truncation)[0])
    return torch.zeros_like(probabilities).scatter(0, index[:count], ordered[:count])


class Replica(RolloutReplica):  # type: ignore[misc, unused-ignore]
    """One server per replica."""

    async def launch_servers(self) -> None:
        """Starts the server under the name that the workers look for."""
        server = (
            ray.remote(Server)
            .options(num_cpus=0, name=f"{NAME}_{self.replica_rank}")
            .remote(self.model_config["path"], self.config.response_length, self.config.seed + self.replica_rank)
        )
        self.servers, self._server_handle, self._server_address = [server], server, f"{NAME}:{self.replica_rank}"


class Worker(BaseRollout):  # type: ignore[misc, unused-ignore]
    """The trainer's side: hands the weights over after each step."""

    async def resume(self, tags: Any) -> None:
        """Nothing was put away."""

    async def release(self) -> None:
        """Nothing is put away."""

    async def update_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None, **_: Any
    ) -> None:
        """Sends a copy of every weight to this worker's server."""
        copied = {name: tensor.detach().cpu().clone() for name, tensor in weights}
        await ray.get_actor(f"{NAME}_{os.environ['RANK']}").update_weights.remote(copied, global_steps)


RolloutReplicaRegistry.register(NAME, lambda: Replica)
base._ROLLOUT_REGISTRY[NAME, "async"] = f"{__name__}.Worker"  # verl 0.9.1 has no function for it
