"""Promises about the repository itself: who imports whom, what is imported at all, how large things are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "ngrpo"
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = {
    "torch",
    "transformers",
    "sympy",
    "vllm",
    "trl",
    "verl",
    "ray",
    "math_verify",
    "datasets",
    "peft",
    "altair",
    "vl_convert",
}
TORCH_FREE = (
    "ngrpo",
    "ngrpo.cli.advantage_charts",
    "ngrpo.cli.main",
    "ngrpo.config",
    "ngrpo.evaluation.evaluate",
    "ngrpo.evaluation.statistics.summary",
    "ngrpo.storage",
    "ngrpo.grading",
    "ngrpo.methods",
    "ngrpo.charts.chart_files",
    "ngrpo.charts.charts",
    "ngrpo.runs.observer",
    "ngrpo.runs.run_dir",
    "ngrpo.runs.trackers",
    "ngrpo.sampling",
    "ngrpo.tasks",
    "ngrpo.tasks.countdown",
    "ngrpo.tasks.file_task",
    "ngrpo.tasks.math",
)
MATHEMATICS = ("advantages", "argument_checks", "choices", "diagnostics", "filters", "gae", "logprobs", "losses")
MATHEMATICS_FILES = [
    path for name in MATHEMATICS for path in (*SOURCE.glob(f"{name}.py"), *SOURCE.glob(f"{name}/*.py"))
]
LONGEST_FUNCTION, LONGEST_FILE, MOST_PARAMETERS = 60, 365, 8
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "base.py", "misc.py"}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_loads_nothing_heavy(module):
    code = f"import {module}, sys; print(*sorted({HEAVY!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == []


@pytest.mark.parametrize("path", MATHEMATICS_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_mathematics_knows_torch_and_errors_alone(path):
    third_party = {m.partition(".")[0] for m in imports_of(path)} - sys.stdlib_module_names
    assert third_party <= {"torch", "ngrpo"}
    ours = {m.split(".")[1] for m in imports_of(path) if m.startswith("ngrpo.")}
    assert ours <= {"errors", *MATHEMATICS}


@pytest.mark.parametrize("folder", ["tasks", "grading", "evaluation", "runs", "charts", "sampling"])
def test_lower_floors_do_not_know_the_trainer_or_the_command_line(folder):
    for path in (SOURCE / folder).rglob("*.py"):
        assert not {m for m in imports_of(path) if m.startswith(("ngrpo.training", "ngrpo.cli"))}, path


def test_files_have_names_that_say_something_and_bearable_lengths():
    for path in FILES:
        assert path.name not in FORBIDDEN_NAMES
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE, path


def test_functions_are_short():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert length <= LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_nothing_executes_text_or_unpickles():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"eval", "exec", "compile", "__import__"}, path
        assert not imports_of(path) & {"pickle", "dill", "marshal", "shelve"}, path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


def test_the_package_holds_its_assets():
    names = {path.name for path in (SOURCE / "models" / "assets" / "countdown-base").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert sum(path.stat().st_size for path in (SOURCE / "models" / "assets").rglob("*") if path.is_file()) < 4e6
