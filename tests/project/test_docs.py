"""What the pages say of commands, metrics and configs is what the code has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ngrpo.config import load_config
from ngrpo.engines.verl.verl_metrics import OURS

ROOT = Path(__file__).parents[2]


def test_generated_pages_are_up_to_date():
    script = ROOT / "scripts" / "write_docs.py"
    out = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("method", ["ppo", "grpo", "psr_nsr", "dapo"])
def test_paper_configs_differ_in_what_their_names_say(method):
    ours = load_config(ROOT / "configs" / "paper" / "ngrpo.toml").to_json()
    other = load_config(ROOT / "configs" / "paper" / f"{method}.toml").to_json()
    machines = {"cluster"} if method == "ppo" else set()  # two models are trained
    assert {key for key in ours if ours[key] != other[key]} == {"method", "run"} | machines
    assert {**other["cluster"], "memory_share": 0.6} == ours["cluster"]
    assert other["method"]["name"] == method
    assert {**other["run"], "name": ""} == {**ours["run"], "name": ""}


def test_no_page_or_file_names_a_path_of_some_machine():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/**/*.toml")]:
        assert not re.search(r"/(work|root|home)/", path.read_text(encoding="utf-8")), path


def metrics_of_a_run(folder, *settings):
    from ngrpo.api import train
    from tests.cli.conftest import TINY

    always = [*TINY[1::2], "run.steps=1", "evaluation.every=0", "sampling.old_logprobs=recompute"]
    config = load_config(ROOT / "configs" / "countdown" / "ngrpo.toml", [*always, *settings])
    run = train(config, folder, progress=False)
    return set(run.read_metrics()[0]) - {"step"}


def test_every_metric_of_real_runs_is_explained(tmp_path):
    group = metrics_of_a_run(
        tmp_path / "group", "method.kl_coefficient=0.1", "method.entropy_bonus=0.01", "sampling.importance_cap=2.0"
    )
    ppo = metrics_of_a_run(tmp_path / "ppo", "method.name=ppo")
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert {"policy/ref_kl", "policy/sampler_gap", "group/all_wrong"} <= group & ppo
    assert {key for key in group | ppo if f"`{key}`" not in page} == set()
    of_verl = set(OURS.values())
    assert {key for key in of_verl if f"`{key}`" not in page} == set()
    explained = set(re.findall(r"^\| `([a-z]+/[a-z_]+)`", page, flags=re.MULTILINE))
    assert explained <= group | ppo | of_verl, "the page explains a metric that does not exist"
    of_the_critic = {key for key in explained if key.startswith("critic/")}
    assert ppo - group == of_the_critic, "optional metrics that are only PPO's are in its section"
