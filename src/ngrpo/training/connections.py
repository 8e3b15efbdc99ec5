"""Connections between the processes that torchrun started: messages over gloo, sums of gradients over NCCL on GPUs."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ngrpo.errors import RankError, error_line
from ngrpo.training.ranks import Place

_PATIENCE = timedelta(hours=6)
"""Longest wait for a rank that lives but does not answer; that for one that has died ends at once."""
_BUCKET = 1 << 23
"""Elements of gradients that are added up in one call."""
_DEATH_SECONDS = 3.0
"""After a lost connection, so long is looked for the process that ended."""
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


class Connections:
    """Of this process to the others.

    Args:
        place: this process.

    Raises:
        RankError: when the others cannot be reached.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._groups: dict[str, Any] = {"cpu": None}
        self._processes: list[int] = []
        _end_with_parent()
        if torch.cuda.is_available():
            torch.cuda.set_device(place.rank % torch.cuda.device_count())
        try:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise RankError(f"rank {place.rank} cannot reach the others: {error_line(error)}") from None
        self._processes = [int(message) for message in self.swapped(str(os.getpid()).encode())]

    def close(self) -> None:
        """Ends the connections, when every rank is done."""
        dist.destroy_process_group()

    def swapped(self, message: bytes) -> list[bytes]:
        """Returns the message of every rank.

        Raises:
            RankError: when a rank has ended.
        """
        own = torch.frombuffer(bytearray(message), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.place.ranks)]
        try:
            dist.all_gather(sizes, torch.tensor([len(own)]))
            longest = max(int(size) for size in sizes)
            messages = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
            dist.all_gather(messages, torch.cat([own, own.new_zeros(longest - len(own))]))
        except RuntimeError as error:
            raise self._lost(error) from None
        return [text[: int(size)].numpy().tobytes() for text, size in zip(messages, sizes, strict=True)]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Makes each tensor its sum over all ranks, the same to the bit in each.

        Raises:
            RankError: when a rank has ended.
        """
        bucket: list[Tensor] = []
        for tensor in tensors:
            bucket.append(tensor)
            if sum(one.numel() for one in bucket) >= _BUCKET:
                self._add_up(bucket)
                bucket = []
        if bucket:
            self._add_up(bucket)

    def _add_up(self, tensors: Sequence[Tensor]) -> None:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        try:
            dist.all_reduce(flat, group=self._group(flat.device.type))
        except RuntimeError as error:
            raise self._lost(error) from None
        totals = torch.split(flat, [one.numel() for one in tensors])
        for tensor, total in zip(tensors, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def _group(self, device_type: str) -> Any:
        """Returns the processes for tensors on a device; made when it is first needed, by all at once."""
        if device_type not in self._groups:
            self._groups[device_type] = dist.new_group(backend="nccl" if device_type == "cuda" else "gloo")
        return self._groups[device_type]

    def _lost(self, error: RuntimeError) -> RankError:
        """Returns the error that names the ranks that ended; the first living one reports it."""
        expiry, ranks = time.monotonic() + _DEATH_SECONDS, range(len(self._processes))
        while not (ended := [n for n in ranks if not _is_running(self._processes[n])]) and time.monotonic() < expiry:
            time.sleep(0.05)
        if not ended:
            return RankError(f"rank {self.place.rank} lost the connection to another: {error_line(error, 150)}")
        names = " and ".join(f"rank {number} (process {self._processes[number]})" for number in ended)
        lost = RankError(f"{names} ended, without which the others cannot go on; repeat the command with --resume auto")
        lost.reported = self.place.rank != min({*ranks} - {*ended})
        return lost


def _is_running(process: int) -> bool:
    """Returns whether a process of this machine lives; a zombie does not."""
    if not Path("/proc/self/stat").exists():
        return True
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return state[0] not in {"Z", "X"}


def _end_with_parent() -> None:
    """Has Linux send SIGTERM to this process when torchrun dies; elsewhere does nothing."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        except (AttributeError, OSError):
            return
