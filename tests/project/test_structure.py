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
    "ngrpo.diagnosis",
    "ngrpo.evaluation.evaluate",
    "ngrpo.evaluation.statistics.summary",
    "ngrpo.storage",
    "ngrpo.grading",
    "ngrpo.linting",
    "ngrpo.methods",
    "ngrpo.report",
    "ngrpo.report.live_server",
    "ngrpo.charts.chart_files",
    "ngrpo.charts.charts",
    "ngrpo.runs.observer",
    "ngrpo.runs.run_dir",
    "ngrpo.runs.trackers",
    "ngrpo.sampling",
    "ngrpo.tasks",
    "ngrpo.tasks.arithmetic",
    "ngrpo.tasks.countdown",
    "ngrpo.tasks.file_task",
    "ngrpo.tasks.math",
)
MATHEMATICS = (
    "advantages",
    "argument_checks",
    "choices",
    "diagnostics",
    "filters",
    "gae",
    "kept_tokens",
    "logprobs",
    "losses",
)
MATHEMATICS_FILES = [
    path for name in MATHEMATICS for path in (*SOURCE.glob(f"{name}.py"), *SOURCE.glob(f"{name}/*.py"))
]
LONGEST_FUNCTION, LONGEST_FILE, MOST_PARAMETERS = 60, 300, 8
LONGER = {"charts/charts.py": 325, "grading/strict/expression.py": 360}
"""Files of one thought each, with their own limits; they may shrink."""
FORBIDDEN_NAMES = {"utils.py", "common.py", "helpers.py", "base.py", "misc.py"}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def runtime_imports_of(path: Path) -> set[str]:
    """As `imports_of`, without what only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    unseen = {id(inner) for guard in guarded for inner in ast.walk(guard)}
    nodes = [node for node in ast.walk(tree) if id(node) not in unseen]
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


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


@pytest.mark.parametrize("folder", ["tasks", "grading", "evaluation", "charts", "sampling", "models", "methods"])
def test_lower_floors_do_not_know_the_trainer_or_the_command_line(folder):
    above = ("ngrpo.training", "ngrpo.cli", "ngrpo.api", "ngrpo.engines", "ngrpo.adapters", "ngrpo.runs")
    for path in (SOURCE / folder).rglob("*.py"):
        assert not {m for m in imports_of(path) if m.startswith(above)}, path


def test_no_cycle_between_folders():
    imports = {}
    for path in FILES:
        folder = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        reached = {module.split(".")[1] for module in runtime_imports_of(path) if module.startswith("ngrpo.")}
        imports.setdefault(folder, set()).update(reached - {folder})
    while leaves := {name for name, reached in imports.items() if not reached & imports.keys()}:
        imports = {name: reached for name, reached in imports.items() if name not in leaves}
    assert imports == {}


def test_a_file_name_has_one_meaning():
    names = [path.name for path in FILES if path.name != "__init__.py"]
    assert [name for name in names if names.count(name) > 1] == []
    assert not FORBIDDEN_NAMES & set(names)


def test_files_have_bearable_lengths():
    for path in FILES:
        name = str(path.relative_to(SOURCE))
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGER.get(name, LONGEST_FILE), path


def test_functions_have_few_parameters():
    for path in FILES:
        if path.parent.name == "cli":  # a command has a parameter per option
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
                assert count <= MOST_PARAMETERS, f"{path}:{node.lineno} {node.name} has {count} parameters"


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
    assert {path.name for path in (SOURCE / "report" / "assets").iterdir()} == {
        "report.css",
        "report.html.j2",
        "report.js",
    }
    assert sum(path.stat().st_size for path in (SOURCE / "models" / "assets").rglob("*") if path.is_file()) < 4e6
