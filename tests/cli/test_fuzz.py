"""2,000 damaged inputs of every kind; benchmarks/fuzz.py tries as many as asked."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.fuzz import Fuzzer, fuzz

INPUTS = 400


def test_damaged_inputs_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path)
    assert len(fuzzer.targets) == 5
    number = int.from_bytes(os.urandom(3))
    for name in fuzzer.targets:
        counts = fuzz(name, fuzzer, INPUTS, number)
        assert counts.total() >= INPUTS, name
        assert counts["read"] > 0, name
