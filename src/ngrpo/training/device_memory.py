"""How much memory a device has for this process, and the most that it has taken."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from ngrpo.models.out_of_memory import release_memory

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
"""Bytes; a cgroup of the first version writes a number near 2^63 for no limit."""
_KIB = 1024


class DeviceMemory:
    """Of a GPU, as torch's allocator sees it, or of the machine, as the kernel accounts for it.

    `limit` is what a GPU has, or what may be resident. Beyond `deadly` the kernel ends processes; everything else, such
    as a GPU's memory, RLIMIT_AS or RLIMIT_DATA, is an error of the allocator.

    Args:
        device: where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            self.deadly, self.limit = _UNLIMITED, int(free + torch.cuda.memory_reserved(device))
        else:
            self.deadly = self.limit = min(_deadly_limits())

    def reset_peak(self) -> None:
        """Gives unused memory back, and counts the peak from here on."""
        release_memory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        with suppress(OSError):  # not Linux: the peak is then that of the whole process
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int:
        """Returns the largest number of bytes in use since the last reset, the process itself included on a CPU."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return int(torch.cuda.max_memory_reserved(self._device))
        return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _deadly_limits() -> Iterator[int]:
    """Yields in bytes the limits of this process's control groups, and the memory that is free."""
    yield from cgroup_limits()
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        yield available * _KIB + _status("VmRSS")
    yield _UNLIMITED


def cgroup_limits(groups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Yields the memory limits of this process's control groups and of their parents, in bytes.

    Args:
        groups: where they are mounted.
        own: which are those of this process.
    """
    folders = [groups, groups / "memory"]
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            root = groups if controllers == "" else groups / "memory" if "memory" in controllers.split(",") else None
            folder = None if root is None else root / path.strip("/")
            while folder is not None and folder != root:
                folders.append(folder)
                folder = folder.parent
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max": none
                limit = int((folder / name).read_text(encoding="ascii"))
                if limit < _UNLIMITED:
                    yield limit


def _status(key: str) -> int:
    """Returns a line of /proc/self/status in bytes, 0 where there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * _KIB
    return 0
