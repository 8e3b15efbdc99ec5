"""The largest micro-batch and number of sequences that fit into memory, found by trying (`ngrpo train --fit`)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ngrpo.config import Config
from ngrpo.errors import ConfigError, NgrpoError, TrainingError, short_line
from ngrpo.runs.checks import check_before_loading

_SEARCHED = 8
"""Settings up to so many times that of the config are tried."""
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Fitted:
    """The largest value of a setting that fitted, and the peak of memory there, in bytes of `limit`.

    `too_large` is the next larger value, which did not fit; None where none was tried, for the reason in `why`.
    """

    key: str
    value: int
    peak: int
    limit: int
    too_large: int | None = None
    why: str = ""

    @property
    def line(self) -> str:
        """One line for a person."""
        rest = f"{self.too_large} does not" if self.too_large else self.why
        taken = f"peak {self.peak / _GIB:.2f} of {self.limit / _GIB:.2f} GiB"
        return f"{self.key} = {self.value} fits ({taken}); {rest}"


@dataclass(frozen=True, slots=True)
class Fit:
    """What `--fit` found."""

    tokens_per_micro_batch: Fitted
    max_sequences: Fitted

    @property
    def overrides(self) -> list[str]:
        """The settings, as for --set."""
        return [f"{found.key}={found.value}" for found in (self.tokens_per_micro_batch, self.max_sequences)]

    @property
    def lines(self) -> list[str]:
        """Lines for a person."""
        sets = " ".join(f"--set {override}" for override in self.overrides)
        return [self.tokens_per_micro_batch.line, self.max_sequences.line, f"use: {sets}"]

    def to_json(self) -> dict[str, Any]:
        """Returns both as plain values."""
        return asdict(self)


def fit(config: Config, on_message: Callable[[str], None]) -> Fit:
    """Returns the largest settings with which updates and sampling fit into memory at the longest lengths.

    Processes are started for updates alone, for sampling after the largest of these, and for updates after that, with
    prompts of max_prompt_tokens and completions of max_completion_tokens; nothing is written.

    Args:
        config: the run's.
        on_message: is given a line about each size that was tried.

    Raises:
        ConfigError: for another sampler than `transformers`, and what the model or the config lack.
        TrainingError: when not even the smallest size fits.
    """
    if config.sampling.sampler != "transformers":
        raise ConfigError(
            f"--fit tries sampler 'transformers' only, not '{config.sampling.sampler}', which has its own settings"
        )
    check_before_loading(config)
    sampling, optimizer = config.sampling, config.optimizer
    row = sampling.max_prompt_tokens + sampling.max_completion_tokens
    rollouts = sampling.problems_per_step * sampling.group_size
    of_update = -(-rollouts * optimizer.passes_per_step // optimizer.updates_per_step) * row
    sizes = list(ladder(row, optimizer.tokens_per_micro_batch, of_update))
    alone = _largest(config, "optimizer.tokens_per_micro_batch", {"kind": "update"}, sizes, on_message)
    sequences = _largest(
        config,
        "sampling.max_sequences",
        {"kind": "sample", "tokens": alone.value},
        list(ladder(1, sampling.max_sequences, rollouts)),
        on_message,
    )
    on_message("updates again, after sampling:")
    tokens = _largest(
        config,
        "optimizer.tokens_per_micro_batch",
        {"kind": "update", "sequences": sequences.value},
        sizes,
        on_message,
    )
    return Fit(tokens, sequences)


def ladder(least: int, setting: int, useful: int) -> Iterator[int]:
    """Yields the sizes that are tried: by doubling, from a quarter of the setting on by half steps too.

    Args:
        least: the smallest.
        setting: the config's own; sizes end at 8 times this.
        useful: no larger size makes a difference.

    >>> list(ladder(1, 16, 100))
    [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]
    """
    size, last = least, min(useful, max(least, _SEARCHED * setting))
    while size < last:
        yield size
        power = 1 << (size.bit_length() - 1)
        half = power + power // 2
        size = half if size < half and 4 * half >= setting and half > power and size >= 4 else 2 * power
    yield last


def _largest(
    config: Config, key: str, task: dict[str, Any], sizes: list[int], on_message: Callable[[str], None]
) -> Fitted:
    """Returns the largest of the sizes, tried in ascending order, that fits."""
    best: dict[str, Any] | None = None
    too_large: int | None = None
    for seen in _probed({"config": config.to_json(), "sizes": sizes, **task}):
        if not seen["fits"]:
            too_large = seen["size"]
            break
        best = seen
        on_message(f"{key} = {seen['size']}: {seen['peak'] / _GIB:.2f} GiB, {seen['seconds']:.1f} s")
    if best is None:
        raise TrainingError(
            f"out of memory with {key} = {sizes[0]}, the smallest: lower [sampling] max_completion_tokens, set [model] "
            "gradient_checkpointing, or train a [model.lora]"
        )
    why = ""
    if too_large is None:
        if best["size"] < sizes[-1]:
            why = f"larger was not tried, for this took {best['seconds']:.0f} s"
        elif sizes[-1] == _SEARCHED * _setting(config, key):
            why = f"larger was not tried: it is {_SEARCHED} times the config's"
        else:
            why = "larger is of no use"
    return Fitted(key, best["size"], best["peak"], best["limit"], too_large, why)


def _setting(config: Config, key: str) -> int:
    table, _, name = key.partition(".")
    return int(getattr(getattr(config, table), name))


def _probed(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields what the probe writes; a size that ended it did not fit.

    Raises:
        NgrpoError: what the model or the config lack.
    """
    command = [sys.executable, "-m", "ngrpo.training.memory_probe", json.dumps(task)]
    seen = 0
    with (
        tempfile.TemporaryFile("w+", errors="replace") as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
    ):
        try:
            for line in process.stdout or ():
                found = json.loads(line)
                if "error" in found:
                    raise _error(found["error"], found["status"])
                seen += 1
                yield found
            process.wait()
        finally:
            process.kill()
        complaints.seek(0)
        complaint = complaints.read()
    if process.returncode == 0:
        return
    last = (complaint.strip().splitlines() or [""])[-1]
    if "Traceback" in complaint and not any(text in last for text in ("alloc", "memory", "MemoryError")):
        raise TrainingError(f"--fit: the probe failed: {short_line(last)}")
    if seen < len(task["sizes"]):  # the kernel, or the allocator, ended it
        yield {"size": task["sizes"][seen], "fits": False}


def _error(line: str, status: int) -> NgrpoError:
    error = TrainingError(line)
    error.exit_status = status
    return error
