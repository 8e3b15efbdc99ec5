"""Out-of-memory errors of torch and Python, on a GPU or a CPU."""

from __future__ import annotations

import gc

import torch

_ALLOCATOR_TEXTS = ("can't allocate memory", "not enough memory", "std::bad_alloc", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error is that of an allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _ALLOCATOR_TEXTS)


def release_memory() -> None:
    """Gives memory that nothing uses back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
