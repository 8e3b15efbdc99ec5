from __future__ import annotations

import subprocess
import sys

import pytest

REUSE = """
import resource, sys, torch
from ngrpo.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # until the heap is as large as it needs to be
    torch.ones(1 << 24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_used_again() -> None:
    keep, give = (
        int(subprocess.run([sys.executable, "-c", REUSE, how], capture_output=True, check=True, text=True).stdout)
        for how in ("keep", "give")
    )
    assert keep < give / 4
