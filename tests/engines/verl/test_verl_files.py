"""What verl is given to read: problems, rewards, settings; needs neither verl nor Ray."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from ngrpo.config import load_config
from ngrpo.engines.verl import reward as verl_reward
from ngrpo.engines.verl import run as verl_run
from ngrpo.engines.verl.overrides import verl_command, verl_environment
from ngrpo.engines.verl.verl_files import VerlFiles, write_inputs
from ngrpo.runs.run_dir import RunDir
from ngrpo.tasks.countdown import Countdown
from ngrpo.tasks.table_rows import read_rows
from ngrpo.types import Grade

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "countdown" / "ngrpo.toml"


@pytest.fixture
def run(tmp_path):
    config = load_config(CONFIG, ["task.train_size=20", "task.test_size=8", "evaluation.problems=5"])
    folder = RunDir.create(tmp_path / "run", config.to_json(), seed=0)
    write_inputs(config, folder.path)
    return config, VerlFiles(folder.path)


def score(files, row, completion):
    return verl_reward.compute_score(
        row["data_source"],
        completion,
        row["reward_model"]["ground_truth"],
        {**row["extra_info"], "num_turns": 2},
        config_path=str(files.config),
        reward_router_address=None,
    )


def test_problems_travel_whole_and_are_graded_as_we_grade_them(run):
    config, files = run
    train, validation = read_rows(files.train), read_rows(files.validation)
    assert (len(train), len(validation)) == (20, 5)
    for split, rows in (("train", train), ("test", validation)):
        for row, problem in zip(rows, config.task.problems(split), strict=False):
            assert row["prompt"] == [{"role": m.role, "content": m.content} for m in config.task.messages(problem)]
            assert row["extra_info"]["split"] == split
            for completion in ("1 2 +", "", problem.question):
                (grade,) = config.task.grade_many([(problem, completion)])
                told = score(files, row, completion)
                assert (told["score"], told["status"], told["reason"]) == (grade.reward, grade.status, grade.reason)
                assert told["problem_id"] == problem.id


def test_an_ungraded_completion_has_no_reward_in_training_and_none_to_average_in_evaluation(run, monkeypatch):
    _, files = run
    monkeypatch.setattr(Countdown, "grade_many", lambda *_: [Grade("ungraded", 0.0, None, "timeout")])
    assert math.isnan(score(files, read_rows(files.train)[0], "x")["score"])
    told = score(files, read_rows(files.validation)[0], "x")
    assert (told["score"], told["status"], told["reason"]) == (0.0, "ungraded", "timeout")


def test_a_command_is_shown_without_verl_and_without_data(tmp_path):
    code = (
        "import sys; sys.modules['verl'] = sys.modules['ray'] = None\n"
        "from pathlib import Path; from ngrpo.config import load_config\n"
        "from ngrpo.engines.verl.overrides import verl_command\n"
        f"config = load_config({str(ROOT / 'configs' / 'paper' / 'ngrpo.toml')!r})\n"
        "print(*verl_command(config, Path('runs/x')), sep='\\n')\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    shown = done.stdout.splitlines()
    assert shown[1:3] == ["-m", "verl.trainer.main_ppo"]
    assert "algorithm.adv_estimator=ngrpo" in shown
    assert shown[-1] == "False"
    assert not list(tmp_path.iterdir())


def test_the_tokenizer_without_a_chat_template_gets_one_that_only_joins(tmp_path):
    command = verl_command(load_config(CONFIG, ["evaluation.every=0"]), tmp_path)
    assert any(part.startswith("actor_rollout_ref.model.custom_chat_template='{{ messages") for part in command)
    assert "VERL_FILE_LOGGER_PATH" in verl_environment(load_config(CONFIG), tmp_path)


def test_every_process_of_verl_loads_the_filter_of_repeated_warnings_and_the_users_modules(tmp_path, monkeypatch):
    name = "VERL_USE_EXTERNAL_MODULES"
    assert verl_environment(load_config(CONFIG), tmp_path)[name] == "ngrpo.engines.verl.quiet"
    on_cpu = load_config(CONFIG, ["cluster.device=cpu"])
    modules = verl_environment(on_cpu, tmp_path)[name]
    assert modules == "ngrpo.engines.verl.quiet,ngrpo.engines.verl.cpu.platform"
    monkeypatch.setenv(name, "mine")
    assert verl_run._environment(on_cpu, tmp_path)[name] == f"{modules},mine"


def test_solve_rates_and_the_evaluated_split_hold_for_verl_too(tmp_path):
    lines = [f'{{"problem_id": "countdown-train-{i}", "sample": 0, "status": "wrong"}}\n' for i in range(4)]
    (tmp_path / "rates.jsonl").write_text("".join(lines))
    settings = ["sampling.problems_per_step=4", f"sampling.solve_rates={tmp_path / 'rates.jsonl'}", "run.steps=1"]
    overrides = ["task.train_size=20", "evaluation.split=train", "evaluation.problems=5", *settings]
    config = load_config(CONFIG, overrides)
    folder = RunDir.create(tmp_path / "run", config.to_json(), seed=0)
    write_inputs(config, folder.path)
    files = VerlFiles(folder.path)
    asked = [[row["prompt"] for row in read_rows(path)] for path in (files.train, files.validation)]
    assert len(asked[0]) == 4
    assert asked[0] == asked[1][:4]
    assert {row["extra_info"]["split"] for row in read_rows(files.validation)} == {"test"}, "no NaN in verl's averages"
