"""The local engine on one GPU: that it runs there, and what it costs beside TRL, `generate` and vLLM.

    python benchmarks/gpu.py [--json] [--device cuda] [--repeats 2] [--tiny]

A random Qwen2 of the shape of 0.5B in bfloat16: updates of 64 rollouts beside TRL's, with and without Liger; sampling
of 128 completions of 200 tokens beside `generate` and, where it is installed, vLLM. Before that, `ngrpo train`, its
resumption and `ngrpo eval` with the shipped model on the device. Wall seconds after synchronising, and the peak of
allocated memory. A part that fails is shown with its error, and the others go on. Under 8 minutes on one GPU is the
aim; it was never run on one. `--device cpu --tiny` runs every part of it in minutes, with small models.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import train_step
from paired import Cost, in_a_process, memory, parser, user

CONFIG = Path(__file__).parent.parent / "configs/countdown/ngrpo.toml"
GROUPS, PROMPTS, LIMIT = 8, 16, 200


class DeviceMeter:
    """From `DeviceMeter()` on: wall seconds as user seconds, and the peak of memory allocated on the GPU."""

    def __init__(self) -> None:
        self._began = synchronised()

    def cost(self, facts: Any = None) -> Cost:
        import torch

        seconds = synchronised() - self._began
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        return Cost(seconds, 0.0, peak, None if facts is None else [])


def synchronised() -> float:
    """The time when all work given to the GPU is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def half_billion() -> Any:
    return train_step.random_model(151_936, 896, 4864, num_hidden_layers=24, num_attention_heads=14)


def commands(device: str) -> dict[str, float]:
    """Seconds of three steps, of two more after a resume, and of an evaluation, each a command of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        ngrpo = [sys.executable, "-m", "ngrpo"]
        settings = ["--set", f"model.device={device}", "--set", "evaluation.problems=64"]
        steps = {
            "train": [*ngrpo, "train", str(CONFIG), "--out", run, *settings, "--set", "run.steps=3"],
            "resume": [*ngrpo, "train", str(CONFIG), "--out", run, "--resume", *settings, "--set", "run.steps=5"],
            "eval": [*ngrpo, "eval", run, "--samples", "8", "--problems", "64", *settings],
        }
        seconds = {}
        for name, command in steps.items():
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command[2:])}: exit status {done.returncode}: {done.stderr[-500:]}")
            seconds[name] = time.perf_counter() - began
        return seconds


def readers(device: str, tiny: bool) -> Any:
    """Work: in each precision, what reads with a cache, and whether packs are read: where exact, on this device."""

    def work() -> dict[str, Any]:
        import torch

        from ngrpo.models import LanguageModel
        from ngrpo.sampling.transformers_sampler import TransformersSampler

        found = {}
        for dtype in (torch.float32, torch.bfloat16):
            model = (train_step.random_model if tiny else half_billion)().to(device)
            lm = LanguageModel(model, train_step.tokenizer(), torch.device(device), dtype)
            reader = type(TransformersSampler(lm).reader()).__name__
            found[str(dtype).removeprefix("torch.")] = {"reader": reader, "packs": lm.packs}
        return found

    return work


def sampling(contender: str, device: str, tiny: bool, limit: int) -> Any:
    """Work: samples all completions to the limit or to a stop token; the facts are tokens per second."""

    def work() -> float:
        import sample
        import torch

        model = (sample.random_model if tiny else half_billion)().to(device)
        contenders = sample.Contenders(model, sample.prompts_of([60] * PROMPTS), torch.bfloat16)
        for parameters in (model, contenders.model):
            parameters.lm_head.register_forward_hook(without_stop)
        run: Callable[[int, int], int] = getattr(contenders, contender)
        run(8, 0)
        began = synchronised()
        tokens = run(limit, 1)
        return tokens / (synchronised() - began)

    return work


def without_stop(_: Any, __: Any, logits: Any) -> None:
    logits[..., 1] = -math.inf


def vllm(tiny: bool, limit: int) -> Any:
    """Work: the same completions by vLLM, from a folder with the same random model."""

    def work() -> float:
        import sample
        from vllm import LLM, SamplingParams

        with tempfile.TemporaryDirectory() as folder:
            (sample.random_model if tiny else half_billion)().save_pretrained(folder)
            engine = LLM(
                folder, skip_tokenizer_init=True, dtype="bfloat16", gpu_memory_utilization=0.5, max_model_len=1024
            )
            prompts = [{"prompt_token_ids": prompt.tokens.tolist()} for prompt in sample.prompts_of([60] * PROMPTS)]
            parameters = SamplingParams(n=8, temperature=1.0, max_tokens=limit, ignore_eos=True, detokenize=False)
            engine.generate(prompts, SamplingParams(n=8, max_tokens=8, ignore_eos=True, detokenize=False))
            began = time.perf_counter()
            found = engine.generate(prompts, parameters)
            tokens = sum(len(completion.token_ids) for request in found for completion in request.outputs)
            return tokens / (time.perf_counter() - began)

    return work


def updates(device: str, tiny: bool, repeats: int) -> dict[str, Any]:
    """Ratios of wall time and peak memory to TRL's, for dead and living groups, with and without Liger."""
    settings: dict[str, dict[str, Any]] = {"TRL": {}}
    if importlib.util.find_spec("liger_kernel") is not None:
        settings["TRL with Liger"] = {"use_liger_kernel": True}
    on_cpu = {"use_cpu": True, "bf16": True} if device == "cpu" else {"bf16": True}
    model = train_step.random_model if tiny else half_billion
    found: dict[str, Any] = {}
    for case in ("dead_groups", "all_alive"):
        shape = case, GROUPS, 1
        mine = train_step.Setting(model, device, "bfloat16", DeviceMeter)
        ours = best(partial(in_a_process, train_step.ours, *shape, 8192, mine, warm=0), repeats)
        for name, options in settings.items():
            other = train_step.Setting(model, device, "bfloat16", DeviceMeter, {**on_cpu, **options})
            theirs = best(partial(in_a_process, train_step.theirs, *shape, other, warm=0), repeats)
            found[f"{case}, {name}"] = {
                "ratio": user(theirs) / user(ours),
                "memory": memory(ours) / max(memory(theirs), 1),
                "seconds": user(ours),
            }
    return found


def tokens_per_second(*shape: Any) -> Any:
    return in_a_process(sampling, *shape, warm=0).facts


def best(measure: Callable[[], Cost], repeats: int) -> Cost:
    return min((measure() for _ in range(repeats)), key=user)


def main() -> None:
    options = parser(__doc__ or "", repeats=2)
    options.add_argument("--device", default="cuda")
    options.add_argument("--tiny", action="store_true", help="small models: to try the benchmark itself")
    given = options.parse_args()
    limit = 20 if given.tiny else LIMIT
    parts: dict[str, Callable[[], Any]] = {
        "commands": partial(commands, given.device),
        "readers": lambda: in_a_process(readers, given.device, given.tiny, warm=0).facts,
        "updates": partial(updates, given.device, given.tiny, given.repeats),
    }
    for name in ("ours", "generate"):
        parts[f"tokens per second, {name}"] = partial(tokens_per_second, name, given.device, given.tiny, limit)
    if importlib.util.find_spec("vllm") is not None:
        parts["tokens per second, vllm"] = lambda: in_a_process(vllm, given.tiny, limit, warm=0).facts
    result: dict[str, Any] = {"device": given.device}
    for name, part in parts.items():
        began = time.perf_counter()
        try:
            result[name] = part()
        except (RuntimeError, EOFError, OSError) as error:
            result[name] = {"error": str(error) or type(error).__name__}
        print(f"{name}: {result[name]} ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
    print(json.dumps(result, indent=None if given.json else 1))


if __name__ == "__main__":
    main()
