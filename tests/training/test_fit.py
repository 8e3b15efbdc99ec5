"""What is tried for `--fit`, in which order, and how a size that does not fit is told; real updates and samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.training.device_memory import cgroup_limits
from ngrpo.training.fit import ladder
from ngrpo.training.memory_probe import MemoryProbe, tried
from ngrpo.training.update import PolicyUpdater

ALLOCATOR = "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"


class Memory:
    """A device of 1,000 bytes whose peak is 100 and as many bytes as the size."""

    limit = deadly = 1000
    size = 0

    def reset_peak(self) -> None:
        self.size = 0

    def peak(self) -> int:
        return 100 + self.size


@given(st.integers(1, 5000), st.integers(1, 10_000), st.integers(1, 10**6))
def test_sizes_ascend_by_at_most_a_doubling_to_the_largest_of_use(least: int, setting: int, useful: int) -> None:
    sizes = list(ladder(least, setting, useful))
    assert sizes[-1] == min(useful, max(least, 8 * setting))
    assert all(a < b <= 2 * a for a, b in itertools.pairwise(sizes))
    fine = [size for size in sizes[1:-1] if 2 * size >= setting and size >= 8]
    assert all(2 * b <= 3 * a for a, b in itertools.pairwise(fine))


def test_what_does_not_fit_ends_the_search() -> None:
    memory = Memory()

    def call(size: int) -> bool:
        memory.size = size
        if size > 400:
            raise RuntimeError(ALLOCATOR)
        return True

    found = list(tried(call, [100, 200, 400, 500, 600], memory))  # type: ignore[arg-type]
    assert [(one["size"], one["fits"]) for one in found] == [(100, True), (200, True), (400, True), (500, False)]
    assert [one["peak"] for one in found[:3]] == [200, 300, 500]


def test_a_size_that_would_pass_the_limit_is_not_tried() -> None:
    memory, seen = Memory(), list[int]()

    def call(size: int) -> bool:
        memory.size = size
        seen.append(size)
        return True

    found = list(tried(call, [100, 200, 400, 800, 1600], memory))  # type: ignore[arg-type]
    assert seen == [100, 200, 400, 800]
    assert found[-1] == {"size": 1600, "fits": False}


def test_other_errors_pass() -> None:
    def call(size: int) -> bool:
        raise RuntimeError(f"shape {size}")

    with pytest.raises(RuntimeError, match="shape 1"):
        list(tried(call, [1], Memory()))  # type: ignore[arg-type]


def test_an_update_and_a_block_of_samples_are_real(
    small_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = MemoryProbe(small_config())
    before = [p.clone() for p in probe._learner.updater.parameters.values()]
    rows = probe._rows(200)
    assert {len(row) for row in rows} == {40}
    assert len(rows) == 12  # three prompts of 32 tokens, each with four completions of 8: 192 tokens
    assert probe.update(200)
    assert any((a != b).any() for a, b in zip(before, probe._learner.updater.parameters.values(), strict=True))
    assert probe.sample(6)
    monkeypatch.setattr(PolicyUpdater, "_loss", lambda *_, **__: (_ for _ in ()).throw(RuntimeError(ALLOCATOR)))
    [found] = tried(probe.update, [100], probe.memory)
    assert not found["fits"]


def test_the_limits_of_control_groups_and_their_parents_are_found(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/jobs/one\n")
    (tmp_path / "jobs" / "one").mkdir(parents=True)
    (tmp_path / "jobs" / "one" / "memory.max").write_text("max\n")
    (tmp_path / "jobs" / "memory.max").write_text("4096\n")
    assert list(cgroup_limits(tmp_path, own)) == [4096]
    (tmp_path / "memory" / "old").mkdir(parents=True)
    own.write_text("3:cpu:/x\n4:memory:/old\n")
    (tmp_path / "memory" / "old" / "memory.limit_in_bytes").write_text("8192\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert list(cgroup_limits(tmp_path, own)) == [8192]
