"""The names that `import ngrpo` offers, each loaded when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ngrpo

WITHOUT_TORCH = {
    *("METHODS", "TASKS", "Config", "GraderPool", "GroupMethod", "Observer", "RunDir", "Task"),
    *(
        "compare",
        "compare_answers",
        "evaluate",
        "grade",
        "load_config",
        "load_method",
        "load_task",
        "pass_at_k",
        "train",
    ),
}
ON_TENSORS = {
    *("clipped_policy_loss", "constant_advantages", "gae_advantages", "group_metrics", "grpo_advantages"),
    *("kept_groups", "kl_divergence", "ngrpo_advantages", "w_reinforce_advantages"),
}


def loaded_by(code: str) -> set[str]:
    """Returns which heavy packages a fresh interpreter has loaded after the code."""
    heavy = {"torch", "transformers", "sympy", "datasets", "verl", "trl", "vllm"}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted({heavy!r} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_public_names() -> None:
    assert set(ngrpo.__all__) == WITHOUT_TORCH | ON_TENSORS


@pytest.mark.parametrize("name", sorted(WITHOUT_TORCH))
def test_a_name_is_loaded_without_torch(name: str) -> None:
    assert loaded_by(f"from ngrpo import {name}") == set()


def test_functions_on_tensors_load_torch_and_nothing_else() -> None:
    assert loaded_by("import ngrpo") == set()
    assert loaded_by(f"from ngrpo import {', '.join(sorted(ON_TENSORS))}") == {"torch"}


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'ngrpo' has no attribute 'trian'"):
        ngrpo.trian  # noqa: B018
