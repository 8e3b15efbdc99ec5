"""What the speed benchmarks share: contenders measured in turns in fresh processes, and ratios of paired runs."""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import resource
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
"""What is measured, after calls that warm it up; it returns facts, or its own `Cost`."""


@dataclass(frozen=True)
class Cost:
    """User and kernel CPU seconds, bytes of memory at the peak above those before, and what the work returned."""

    user: float
    system: float
    memory: int
    facts: Any


def resident(field: str) -> int:
    """Bytes of a line of /proc/self/status, such as VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


class Meter:
    """From `Meter()` on, what this process uses; its peak of memory is that since then."""

    def __init__(self) -> None:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM is from now on the peak since now
        self._before, self._memory = resource.getrusage(resource.RUSAGE_SELF), resident("VmRSS")

    def cost(self, facts: Any = None) -> Cost:
        """Returns what was used so far."""
        now, before = resource.getrusage(resource.RUSAGE_SELF), self._before
        memory = resident("VmHWM") - self._memory
        return Cost(now.ru_utime - before.ru_utime, now.ru_stime - before.ru_stime, memory, facts)


def _child(make: Callable[..., Work], arguments: tuple[Any, ...], warm: int, pipe: Any) -> None:
    os.dup2(2, 1)  # what a contender prints would be in the midst of the JSON
    import torch

    torch.set_num_threads(1)
    work = make(*arguments)
    for _ in range(warm):
        work()
    meter = Meter()
    found = work()
    pipe.send(found if isinstance(found, Cost) else meter.cost(found))


def in_a_process(make: Callable[..., Work], *arguments: Any, warm: int = 1) -> Cost:
    """Returns the cost of what `make(*arguments)` returns, made and called in a fresh process with one thread."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(make, arguments, warm, theirs))
    process.start()
    theirs.close()
    try:
        cost: Cost = ours.recv()
    finally:
        process.join()
    return cost


def in_turns(contenders: Mapping[str, tuple[Any, ...]], repeats: int, warm: int = 1) -> dict[str, list[Cost]]:
    """Returns the costs of each contender, given as (make, *arguments), all measured once in each repeat."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, (make, *arguments) in contenders.items():
            costs[name].append(in_a_process(make, *arguments, warm=warm))
    return costs


def ratio(numerators: list[Cost], denominators: list[Cost], value: Callable[[Cost], float]) -> dict[str, float]:
    """Returns the median of paired ratios, and the least and largest of them."""
    ratios = [value(a) / value(b) for a, b in zip(numerators, denominators, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "largest": max(ratios)}


def user(cost: Cost) -> float:
    return cost.user


def total(cost: Cost) -> float:
    return cost.user + cost.system


def memory(cost: Cost) -> float:
    return cost.memory


def parser(text: str, repeats: int = 3) -> argparse.ArgumentParser:
    """Returns the options that every speed benchmark has."""
    out = argparse.ArgumentParser(description=text.partition("\n")[0])
    out.add_argument("--repeats", type=int, default=repeats, help="paired measurements of each contender")
    out.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # of the processes that measure
    return out


def shown(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints a result: as JSON, or a line for each number."""
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        if isinstance(value, dict) and "median" in value:
            print(f"{name:40} {value['median']:8.3f}  ({value['least']:.3f} to {value['largest']:.3f})")
        else:
            print(f"{name:40} {value:8.3f}" if isinstance(value, float) else f"{name:40} {value}")
