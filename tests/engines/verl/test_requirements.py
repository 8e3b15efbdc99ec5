"""What the documented installation brings: every module that a run imports belongs to a package that it declares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("verl")

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TORCH = "torch"
"""Installed first, with a build for the machine: its own requirements (CUDA) are not followed."""
RUN = """
import json, sys
from importlib.metadata import packages_distributions
import verl.trainer.main_ppo, verl.trainer.ppo.v1, verl.trainer.ppo.v1.agent_loop_tq
import verl.workers.engine_workers, verl.workers.engine.fsdp, verl.workers.rollout.llm_server
import verl.experimental.agent_loop, verl.experimental.reward_loop, verl.experimental.reward_loop.reward_manager
import verl.utils.tracking, verl.utils.dataset.rl_dataset, verl.utils.checkpoint.fsdp_checkpoint_manager
import ngrpo.engines.verl.recording_sampler, ngrpo.engines.verl.reward, ngrpo.engines.verl.quiet
owners = packages_distributions()
tops = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print(json.dumps({top: owners[top] for top in tops if top in owners}))
"""
"""What the processes of a run import: command, trainer, workers, agent loop, graders, sampler."""
EITHER = {"colorama"}
"""Packages that others use where they find them and do without where not."""


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements):
    """Returns the names of requirements and of theirs, and of those the ones that are not installed here."""
    found, missing = set(), set()
    todo = [(Requirement(text), "") for text in requirements]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        for of_package in ("", *requirement.extras):
            if (name, of_package) in seen:
                continue
            seen.add((name, of_package))
            found.add(name)
            try:
                installed = metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError:
                missing.add(name)
                break
            assert requirement.specifier.contains(installed.version, prereleases=True), f"{requirement}"
            if name != TORCH:
                todo += [(Requirement(text), of_package) for text in installed.requires or []]
    return found, missing


@pytest.fixture(scope="module")
def documented():
    return declared([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["verl"]])


def test_the_environment_of_these_tests_has_all_that_the_extra_declares(documented):
    _, missing = documented
    assert missing == set()


@pytest.fixture(scope="module")
def with_torch():
    """torch and what comes with it."""
    return declared([TORCH, *(metadata.requires(TORCH) or [])])[0]


def test_every_module_that_a_run_imports_is_declared(documented, with_torch):
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = json.loads(done.stdout.splitlines()[-1])
    names, _ = documented
    known = {canonical(PROJECT["name"]), *names, *with_torch, *EITHER}
    undeclared = {top: owners for top, owners in imported.items() if not {canonical(owner) for owner in owners} & known}
    assert undeclared == {}
    assert {"transfer_queue", "cachetools", "fastapi", "uvicorn", "ray"} <= imported.keys()


def test_without_the_extra_the_comparison_would_fail():
    names, _ = declared([*PROJECT["dependencies"], "verl>=0.9,<0.10"])
    assert not {"transferqueue", "cachetools", "fastapi", "uvicorn"} & names


def test_the_documented_command_resolves_and_keeps_the_torch_that_is_there(documented, with_torch):
    report = Path(sys.prefix) / "resolved.json"
    if not report.is_file():
        pytest.skip("this environment was not made by `make test-verl`, which writes resolved.json")
    planned = json.loads(report.read_text(encoding="utf-8"))["install"]
    names = {canonical(package["metadata"]["name"]) for package in planned}
    assert {"verl", "transferqueue", "ray", "cachetools", "fastapi", "uvicorn", "transformers"} <= names
    assert TORCH not in names
    assert not [name for name in names if name.startswith("nvidia-")]
    assert names >= documented[0] - with_torch
