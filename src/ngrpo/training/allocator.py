"""The C library's allocator, told to keep what a step frees for the next one."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 1 << 30
"""Bytes: larger blocks are still given back at once."""


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory for this process instead of giving it back; returns whether it does.

    A step on a CPU frees and takes the same tensors again and again. By default each large one is a fresh mapping,
    whose pages the kernel clears at every use. Does nothing where the C library is another one than glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
