"""Each shipped config loads, and each pair differs only in what its name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ngrpo.config import load_config
from ngrpo.methods import load_method
from ngrpo.study.study_config import load_study

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(path for path in CONFIGS.glob("*/*.toml") if path.parent.name != "study")

# What an ablation changes in configs/paper/ngrpo.toml, besides the name of the run.
ABLATIONS: dict[str, dict[str, Any]] = {
    "grpo": {"num_virtual": 0, "clip_low": 0.2, "clip_high": 0.2, "filter": "none", "kl_coefficient": 0.001},
    "grpo_without_kl": {"num_virtual": 0, "clip_low": 0.2, "clip_high": 0.2, "filter": "none"},
    "clip_only": {"num_virtual": 0, "filter": "none"},
    "calibration_only": {"clip_low": 0.2, "clip_high": 0.2, "filter": "none"},
    "calibration_and_clip": {"filter": "none"},
    "calibration_and_clip_mixed_only": {"filter": "all"},
    "num_virtual_2": {"num_virtual": 2},
    "num_virtual_4": {"num_virtual": 4},
    "population_std": {"std": "population"},
    "calibrate_all_wrong": {"calibrate": "all_wrong"},
}

# Rows of the table that are one switch apart, and the switch.
NEIGHBOURS = [
    ("grpo", "grpo_without_kl", {"kl_coefficient"}),
    ("grpo_without_kl", "clip_only", {"clip_low", "clip_high"}),
    ("grpo_without_kl", "calibration_only", {"num_virtual"}),
    ("clip_only", "calibration_and_clip", {"num_virtual"}),
    ("calibration_only", "calibration_and_clip", {"clip_low", "clip_high"}),
    ("calibration_and_clip", "calibration_and_clip_mixed_only", {"filter"}),
]

# What a method of the Countdown comparison has besides its published defaults.
COUNTDOWN: dict[str, dict[str, Any]] = {
    "ngrpo": {"entropy_bonus": 0.0},
    "grpo": {"kl_coefficient": 0.0, "entropy_bonus": 0.0},
    "ppo": {"critic_lr": 3e-4, "reward_kl_coefficient": 0.0, "entropy_bonus": 0.0},
    "psr_nsr": {"entropy_bonus": 0.0},
    "dapo": {"entropy_bonus": 0.0, "overlong_buffer_tokens": 0},
    "dr_grpo": {"entropy_bonus": 0.0},
    "constant": {"entropy_bonus": 0.0},
}

# What a method of the SmolLM2 tier has besides its published defaults.
SMOLLM2: dict[str, dict[str, Any]] = {
    "ngrpo": {"entropy_bonus": 0.0, "refill": False},
    "grpo": {"kl_coefficient": 0.0, "entropy_bonus": 0.0},
    "psr_nsr": {"entropy_bonus": 0.0},
    "dapo": {"entropy_bonus": 0.0, "overlong_buffer_tokens": 0, "refill": False},
    "constant": {"entropy_bonus": 0.0, "refill": False},
}


def resolved(name: str) -> dict[str, Any]:
    return load_config(CONFIGS / f"{name}.toml").to_json()


def apart_from_method_and_name(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "method": None, "run": {**config["run"], "name": None}}


def differing(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    assert first.keys() == second.keys()
    return {key: second[key] for key in first if first[key] != second[key]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_config_loads_and_its_run_is_named_after_it(path: Path) -> None:
    config = load_config(path)
    folder = {"ablations": "ablation"}.get(path.parent.name, path.parent.name)
    assert config.run.name.replace("_", "-") == f"{folder}-{path.stem}".replace("_", "-")


def test_runs_have_names_of_their_own() -> None:
    names = [load_config(path).run.name for path in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_what_its_name_says(name: str) -> None:
    ngrpo, ablation = resolved("paper/ngrpo"), resolved(f"ablations/{name}")
    assert apart_from_method_and_name(ablation) == apart_from_method_and_name(ngrpo)
    assert differing(ngrpo["method"], ablation["method"]) == ABLATIONS[name]


@pytest.mark.parametrize(("first", "second", "switch"), NEIGHBOURS)
def test_neighbouring_rows_are_one_switch_apart(first: str, second: str, switch: set[str]) -> None:
    methods = (resolved(f"ablations/{name}")["method"] for name in (first, second))
    assert differing(*methods).keys() == switch


def test_every_ablation_is_checked() -> None:
    assert {path.stem for path in (CONFIGS / "ablations").glob("*.toml")} == {*ABLATIONS, "constant"}


def test_the_control_has_ngrpo_s_clip_and_filter() -> None:
    ngrpo, control = resolved("paper/ngrpo"), resolved("ablations/constant")
    assert apart_from_method_and_name(control) == apart_from_method_and_name(ngrpo)
    shared = control["method"].keys() - {"name"}
    assert shared == ngrpo["method"].keys() - {"name", "num_virtual", "std", "calibrate"}
    assert {key: control["method"][key] for key in shared} == {key: ngrpo["method"][key] for key in shared}


def test_the_grpo_row_is_the_reference_script_s_grpo() -> None:
    script, row = resolved("paper/grpo"), resolved("ablations/grpo")
    assert apart_from_method_and_name(row) == apart_from_method_and_name(script)
    shared = script["method"].keys() - {"name"}
    assert {key: row["method"][key] for key in shared} == {key: script["method"][key] for key in shared}
    rewards = torch.rand(50, 8, generator=torch.Generator().manual_seed(0)).round()
    first, second = (load_config(CONFIGS / f"{name}.toml").method for name in ("paper/grpo", "ablations/grpo"))
    assert torch.equal(first.advantages(rewards), second.advantages(rewards))


@pytest.mark.parametrize(
    ("folder", "name", "changed"),
    [
        *(("countdown", name, changed) for name, changed in COUNTDOWN.items()),
        *(("smollm2", name, changed) for name, changed in SMOLLM2.items()),
    ],
)
def test_configs_of_a_comparison_differ_in_the_method_alone(folder: str, name: str, changed: dict[str, Any]) -> None:
    ngrpo, other = resolved(f"{folder}/ngrpo"), resolved(f"{folder}/{name}")
    assert apart_from_method_and_name(other) == apart_from_method_and_name(ngrpo)
    assert other["method"]["name"] == name
    published = load_method({"name": name}).model_dump(mode="json")
    assert differing(published, other["method"]) == {
        key: value for key, value in changed.items() if published[key] != value
    }
    # The terms that none of them has.
    assert (other["method"]["kl_coefficient"], other["method"]["entropy_bonus"]) == (0, 0)
    assert other["method"].get("overlong_buffer_tokens", 0) == 0


def test_every_config_of_a_comparison_is_checked() -> None:
    assert {path.stem for path in (CONFIGS / "countdown").glob("*.toml")} == set(COUNTDOWN)
    assert {path.stem for path in (CONFIGS / "smollm2").glob("*.toml")} == set(SMOLLM2)


@pytest.mark.parametrize("share", ["40", "85"])
def test_the_smollm2_studies_run_the_configs_of_the_tier(share: str) -> None:
    study = load_study(CONFIGS / "study" / f"smollm2_{share}.toml")
    assert {(cell.variant, cell.seed) for cell in study.cells} == {
        (name, seed) for name in ("grpo", "psr_nsr", "ngrpo") for seed in range(3)
    }
    for cell in study.cells:
        config, cell_config = resolved(f"smollm2/{cell.variant}"), cell.config.to_json()
        for table in ("model", "sampling", "optimizer", "evaluation"):
            assert cell_config[table] == config[table]
        # Where nothing is filtered, refill has no effect.
        assert differing(config["method"], cell_config["method"]) in ({}, {"refill": False})
        assert (cell_config["task"] == config["task"]) == (share == "40")
        assert cell_config["run"]["steps"] == config["run"]["steps"]
