"""Wrong settings of our estimators are found in verl's whole config; needs no verl."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ngrpo.adapters.verl_names import estimator_names
from ngrpo.adapters.verl_settings import check_settings
from ngrpo.errors import ConfigError


def config(estimator, **settings):
    return SimpleNamespace(algorithm={"adv_estimator": estimator, "ngrpo": settings})


@pytest.mark.parametrize(
    ("estimator", "settings", "message"),
    [
        ("ngrpo", {"num_virtul": 1}, r"algorithm\.ngrpo\.num_virtul: estimator ngrpo .*allowed: num_virtual, std,"),
        ("ngrpo", {"num_virtual": -1}, r"algorithm\.ngrpo: .*greater than or equal to 0"),
        ("ngrpo", {"clip_low": 0.1}, r"algorithm\.ngrpo\.clip_low: .*set it where verl has it"),
        ("ngrpo_grpo", {"num_virtual": 1}, r"algorithm\.ngrpo\.num_virtual: estimator grpo .*allowed:"),
        ("w_reinforce", {"weigth": 0.1}, r"algorithm\.ngrpo\.weigth: estimator psr_nsr .*allowed:"),
        ("dapo", {}, r"\+algorithm\.ngrpo\.max_completion_tokens=N"),
    ],
)
def test_a_wrong_setting_is_one_line(estimator, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        check_settings(config(estimator, **settings), estimator_names())
    assert "\n" not in str(error.value)


def test_right_settings_and_other_peoples_estimators_pass():
    names = estimator_names()
    check_settings(config("ngrpo", num_virtual=2), names)
    check_settings(config("grpo", whatever=1), names)
    check_settings(SimpleNamespace(algorithm={"adv_estimator": "ngrpo"}), names)
    with pytest.raises(ConfigError, match=r"algorithm\.ngrpo must be a table of settings, got 3"):
        check_settings(SimpleNamespace(algorithm={"adv_estimator": "ngrpo", "ngrpo": 3}), names)
