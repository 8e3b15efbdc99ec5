"""The defaults that `ngrpo lint` knows of TRL are those of the installed one."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ngrpo.linting.view_trl import DEFAULTS

trl = pytest.importorskip("trl")


def test_defaults_of_grpo_config():
    installed = {field.name: field.default for field in fields(trl.GRPOConfig)}
    assert {key: installed[key] for key, _ in DEFAULTS.values()} == dict(DEFAULTS.values())
