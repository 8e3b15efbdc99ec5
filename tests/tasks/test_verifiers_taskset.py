"""`verifiers:NAME` without the package; with it: tests/engines/test_verifiers.py."""

from __future__ import annotations

import pytest

from ngrpo.errors import ConfigError, MissingDependencyError
from ngrpo.tasks import load_task, registry


def test_the_grader_is_the_taskset_itself_unless_another_is_given() -> None:
    task = load_task({"name": "verifiers:owner/some-taskset@1.2"})
    assert task.weights == {"verifiers:owner/some-taskset@1.2": 1.0}  # type: ignore[attr-defined]
    assert task.slug == "verifiers-some-taskset"
    assert not task.grades_by_reference
    assert load_task({"name": "verifiers:x", "grader": "exact"}).grades_by_reference


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'name': must be verifiers:NAME"):
        load_task({"name": "verifiers:"})
    monkeypatch.setattr("ngrpo.tasks.verifiers_taskset.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"task 'verifiers:x' needs .*ngrpo\[verifiers\]") as error:
        load_task({"name": "verifiers:x"}).problems("test")
    assert "\n" not in str(error.value)
    assert "verifiers" in registry.TASKS
