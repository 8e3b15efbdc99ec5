"""The grid that a study's config spans, and every wrong one in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngrpo.errors import ConfigError
from ngrpo.study.study_config import load_study

BASE = """
[study]
seeds = 2
compare_to = "grpo"
{study}
[study.vary.grpo]
method.name = "grpo"
{vary}
[model]
path = "builtin:countdown-base"
[task]
name = "countdown"
[method]
entropy_bonus = 0.0
"""


def written(folder: Path, vary: str = "", study: str = "") -> Path:
    path = folder / "study.toml"
    path.write_text(BASE.format(vary=vary, study=study))
    return path


def test_every_variant_has_every_seed_and_its_own_settings(tmp_path: Path) -> None:
    vary = '[study.vary."NGRPO, G = 32"]\nseeds = 3\nmethod.name = "ngrpo"\n"sampling.group_size" = 32'
    study = load_study(written(tmp_path, vary), ["run.steps=7"])
    assert [cell.slug for cell in study.cells] == ["grpo/0", "NGRPO_G_32/0", "grpo/1", "NGRPO_G_32/1", "NGRPO_G_32/2"]
    assert {cell.config.method.name for cell in study.cells if cell.variant == "grpo"} == {"grpo"}
    others = [cell.config for cell in study.cells if cell.variant != "grpo"]
    assert [(config.run.seed, config.sampling.group_size) for config in others] == [(0, 32), (1, 32), (2, 32)]
    assert {cell.config.method.entropy_bonus for cell in study.cells} == {0.0}
    assert {cell.config.run.steps for cell in study.cells} == {7}


def test_settings_of_the_study_are_overridden_too(tmp_path: Path) -> None:
    study = load_study(written(tmp_path), ["study.seeds=3", "study.name=tier", "run.steps=7"])
    assert (study.settings.name, len(study.cells)) == ("tier", 3)
    with pytest.raises(ConfigError, match=r"\[study\]"):
        load_study(written(tmp_path), ["study.seeds=none"])


@pytest.mark.parametrize(
    ("equal", "steps", "limits"),
    [("rollouts", 3, (1000, 0)), ("updates", 250, (0, 0)), ("tokens", 140, (0, 1000))],
)
def test_an_equal_budget_sets_the_length_and_the_evaluations(
    tmp_path: Path, equal: str, steps: int, limits: tuple[int, int]
) -> None:
    study = f'equal = "{equal}"\nbudget = 1000\nlast_evaluations = 3'
    path = written(tmp_path, '[study.vary.dapo]\nmethod.name = "dapo"', study)
    for cell in load_study(path, ["sampling.problems_per_step=50"]).cells:
        run, evaluation = cell.config.run, cell.config.evaluation
        assert (run.steps, (run.max_rollouts, run.max_tokens)) == (steps, limits)
        assert (evaluation.every, evaluation.count) == (0, 3)
    cells = load_study(written(tmp_path, study=study), ["evaluation.every=5"]).cells
    assert (cells[0].config.evaluation.every, cells[0].config.evaluation.count) == (5, 0)


@pytest.mark.parametrize(
    ("vary", "study", "message"),
    [
        ('[study.vary.a]\nmethod.name = "nope"', "", r"\[study.vary.a\] .*unknown method 'nope'"),
        ("[study.vary.a]\nseeds = 0", "", "seeds must be a whole number of at least 1, got 0"),
        ('[study.vary."gr po"]\n[study.vary.gr_po]', "", "needs a name that differs"),
        ("", 'primary = "pass"', r"'primary': must be auc or pass@K, got 'pass'"),
        ('[study.vary.a]\n"model.path.x" = 1', "", "'path' is not a table"),
        ("", 'equal = "rollouts"', "equal is 'rollouts' and budget is 0: give both, or neither"),
        ("", "budget = 5", "equal is '' and budget is 5: give both, or neither"),
        ("", 'equal = "steps"\nbudget = 5', "'equal': .*'rollouts', 'updates' or 'tokens', got 'steps'"),
        (
            "[study.vary.a]\nrun.steps = 9",
            'equal = "updates"\nbudget = 5',
            r"\[study.vary.a\] \[run\] steps is given, but \[study\] equal = 'updates' sets it: leave it out",
        ),
        ("[study.vary.a]\nrun = 3", "", r"\[study.vary.a\] 'run' must be a table, \[run\], got 3"),
        ("[study.vary.a]\nevaluation = 3", 'equal = "tokens"\nbudget = 5', "'evaluation' must be a table"),
        ("", "seed = 3", r"unknown key 'seed'; did you mean 'seeds'\?"),
    ],
)
def test_a_wrong_study_is_one_line(tmp_path: Path, vary: str, study: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_study(written(tmp_path, vary, study))
    assert "\n" not in str(caught.value)


def test_a_baseline_that_is_no_variant_and_a_missing_table(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('compare_to = "grpo"', 'compare_to = "ppo"'))
    with pytest.raises(ConfigError, match="compare_to is 'ppo'; allowed: grpo"):
        load_study(path)
    path.write_text("[run]\nsteps = 1\n")
    with pytest.raises(ConfigError, match=r"the table \[study\] is missing"):
        load_study(path)
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
        load_study(tmp_path / "missing.toml")


def test_the_shipped_studies_load() -> None:
    paths = sorted((Path(__file__).parents[2] / "configs" / "study").glob("*.toml"))
    assert paths
    for path in paths:
        assert load_study(path).cells
