"""The defaults that `ngrpo lint` knows of verl are those of the installed one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from ngrpo.linting.located import yaml_settings
from ngrpo.linting.view_verl import DEFAULTS

verl = find_spec("verl")


@pytest.mark.skipif(verl is None, reason="verl is not installed")
def test_defaults_of_ppo_trainer():
    folder = Path(verl.submodule_search_locations[0]) / "trainer" / "config"
    installed, _ = yaml_settings((folder / "_generated_ppo_trainer.yaml").read_text(encoding="utf-8"))
    ours = {key: value for key, value in dict(DEFAULTS.values()).items() if not key.startswith("algorithm.ngrpo.")}
    required = {"actor_rollout_ref.rollout.name"}  # without a default
    assert {key: installed[key].value for key in ours if key not in required} == {
        key: value for key, value in ours.items() if key not in required
    }
