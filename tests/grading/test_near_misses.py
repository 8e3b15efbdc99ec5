"""Wrong answers that differ from the right one by little: benchmarks/near_misses.py, which a test loads by its path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "near_misses.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("near_misses", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_they_are_many_of_every_kind_and_always_the_same(script: ModuleType) -> None:
    misses = script.near_misses()
    assert misses == script.near_misses()
    assert len(misses) == len(set(misses)) >= 400
    assert {miss.kind for miss in misses} == set(script.MUTATIONS)


def test_strict_accepts_none(script: ModuleType) -> None:
    assert script.accepted(script.near_misses(), "strict") == []


def test_what_is_accepted_is_reported(script: ModuleType) -> None:
    right = script.NearMiss("none", r"\boxed{\frac12}", "0.5")
    assert script.accepted([right, script.NearMiss("sign", r"\boxed{-\frac12}", "0.5")], "strict") == [right]
