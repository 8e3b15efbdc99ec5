"""The comparison of `scripts/trl_own_tests.py`: refused options are no differences, everything else is one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SCRIPTS, script

CONFIG_ERROR = "ngrpo.errors.ConfigError: "


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        (CONFIG_ERROR + "loss_type is 'sapo'; allowed with our methods are 'dapo'", "loss_type"),
        (CONFIG_ERROR + "a reward is 1.5, above max_reward = 1, but method 'ngrpo' needs", "max_reward"),
        (CONFIG_ERROR + "method 'ngrpo' needs the reward of a correct completion: max_reward is 1", "max_reward"),
        (CONFIG_ERROR + "TRL 2.0 does not fit: GRPOTrainer has no _step", None),
        ("AssertionError: assert 1 == 2", None),
        ("ValueError: loss_type is 'sapo'", None),
    ],
)
def test_only_config_errors_of_ours_are_refused_options(reason: str, option: str | None) -> None:
    assert script("trl_own_tests").refused_option(reason) == option


@pytest.mark.parametrize(("reason", "status"), [(CONFIG_ERROR + "loss_type is 'sapo'", 0), ("AssertionError", 1)])
def test_a_difference_is_listed_and_gives_status_1(
    capsys: pytest.CaptureFixture[str], reason: str, status: int
) -> None:
    module = script("trl_own_tests")
    passed, skipped = module.Outcome("passed", ""), module.Outcome("skipped", "")
    theirs = {"T::a": passed, "T::b": passed, "T::c": module.Outcome("failed", "OSError: no model"), "T::d": skipped}
    ours = {**theirs, "T::b": module.Outcome("failed", reason)}
    assert module.print_comparison(theirs, ours, {"method": "grpo"}) == status
    printed = capsys.readouterr().out
    for line in ("4 tests", "1 passed by both", "1 skipped", "1 failed by TRL's own", f"{status} differences"):
        assert line in printed
    assert ("loss_type: b" in printed) == (status == 0)
    assert ("T::b: AssertionError" in printed) == (status == 1)


def test_a_folder_without_the_tests_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "trl_own_tests.py"), "--tests", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"--tests is {tmp_path}, which has no conftest.py; allowed")
