"""What a resumed run may differ in from its own config."""

from __future__ import annotations

from typing import Any

import pytest

from ngrpo.config import config_of
from ngrpo.errors import ConfigError
from ngrpo.runs.opening import check_same_run


def config(**tables: Any) -> dict[str, Any]:
    given = {"model": {"path": "builtin:countdown-base"}, "task": {"name": "countdown"}}
    return config_of({**given, **tables}).to_json()


def test_a_setting_that_is_newer_than_the_run_has_its_default() -> None:
    saved = config()
    del saved["sampling"]["solve_rates"], saved["method"]["all_wrong_weight"]
    assert check_same_run(saved, config()) == []
    with pytest.raises(ConfigError, match=r"\[method\] all_wrong_weight is 0.1, but the run was started with 1.0"):
        check_same_run(saved, config(method={"name": "ngrpo", "all_wrong_weight": 0.1}))


def test_free_settings_are_named_and_others_refused() -> None:
    assert check_same_run(config(), config(run={"steps": 7})) == [("run", "steps", 140, 7)]
    with pytest.raises(ConfigError, match=r"\[optimizer\] lr is 0.1, but the run was started with 1e-06"):
        check_same_run(config(), config(optimizer={"lr": 0.1}))


def test_a_damaged_config_differs() -> None:
    with pytest.raises(ConfigError, match=r"but the run was started with"):
        check_same_run({**config(), "optimizer": True}, config())
