from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ngrpo.config import Config, apply_overrides, config_of, load_config
from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
STUDIES = set(ROOT.glob("configs/study/*.toml"))  # tests/study loads these
SHIPPED = sorted([*(set(ROOT.glob("configs/**/*.toml")) - STUDIES), *ROOT.glob("src/ngrpo/models/assets/*.toml")])

BASE = '[model]\npath = "builtin:countdown-base"\n[task]\nname = "countdown"\n'


def written(tmp_path: Path, text: str, name: str = "run.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def message(path: Path, *overrides: str) -> str:
    """The one line of the error that loading gives."""
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    text = str(error.value)
    assert "\n" not in text
    assert error.value.exit_status == 2
    return text


def test_a_model_and_a_task_are_enough_and_the_rest_is_the_published_setting(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, BASE))
    assert config.method.name == "ngrpo"
    sampling, optimizer, evaluation, run = config.sampling, config.optimizer, config.evaluation, config.run
    assert (sampling.problems_per_step, sampling.group_size) == (1024, 8)
    assert (sampling.temperature, sampling.top_p) == (1.0, 1.0)
    assert (sampling.max_prompt_tokens, sampling.max_completion_tokens) == (1024, 3072)
    assert (optimizer.lr, optimizer.schedule, optimizer.betas) == (1e-6, "constant", (0.9, 0.999))
    assert (optimizer.weight_decay, optimizer.max_grad_norm, optimizer.updates_per_step) == (0.01, 1.0, 4)
    assert (evaluation.temperature, evaluation.top_p, evaluation.max_completion_tokens) == (0.6, 0.95, 4096)
    assert run.steps == 140


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_config_loads_and_survives_json(path: Path) -> None:
    config = load_config(path)
    assert config_of(config.to_json()) == config
    assert config_of(json.loads(json.dumps(config.to_json()))) == config


def test_there_are_shipped_configs() -> None:
    assert {"ngrpo.toml", "demo.toml"} <= {path.name for path in SHIPPED}


@pytest.mark.parametrize("method", METHODS)
def test_the_resolved_config_repeats_the_run(tmp_path: Path, method: str) -> None:
    """config.json of a run: the config under a key of its own, beside versions and seed."""
    config = load_config(written(tmp_path, BASE), [f"method.name={method}", "model.lora.rank=3"])
    saved = written(tmp_path, json.dumps({"config": config.to_json(), "seed": 0, "versions": {}}), "config.json")
    assert load_config(saved) == config
    bare = written(tmp_path, json.dumps(config.to_json()), "bare.json")
    assert load_config(bare) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[optimizer]\nlearning_rat = 1e-3", "[optimizer] unknown key 'learning_rat'; allowed: betas, "),
        ("[optimizer]\nwarmup_step = 3", "[optimizer] unknown key 'warmup_step'; did you mean 'warmup_steps'?"),
        ("[optimiser]\nlr = 1e-3", "unknown key 'optimiser'; did you mean 'optimizer'?"),
        ("[method]\nnum_virtul = 1", "[method] unknown key 'num_virtul'; did you mean 'num_virtual'?"),
        ('[method]\nname = "gpro"', "[method] unknown method 'gpro'; allowed: grpo, "),
        ("[optimizer]\nlr = '1e-3'", "[optimizer] 'lr': input should be a valid number, got '1e-3'"),
        ("[optimizer]\nbetas = [0.9, 1.0]", "[optimizer] 'betas': each must be at least 0 and below 1, got [0.9, 1.0]"),
        ("[sampling]\ngroup_size = 2.5", "[sampling] 'group_size': input should be a valid integer, got 2.5"),
        ("[sampling]\ngroup_size = 0", "[sampling] 'group_size': input should be greater than or equal to 1, got 0"),
        ("[sampling]\ntop_p = 0.0", "[sampling] 'top_p': input should be greater than 0, got 0.0"),
        ("[sampling]\ntop_k = -1", "[sampling] 'top_k': input should be greater than or equal to 0, got -1"),
        ("[evaluation]\nmin_p = 1.0", "[evaluation] 'min_p': input should be less than 1, got 1.0"),
        ("[sampling]\nstop = ['a', '']", "[sampling] 'stop': each must be a text of at least one character"),
        ("[evaluation]\nstop = 'a'", "[evaluation] 'stop': input should be a valid array, got 'a'"),
        ("[sampling]\ntruncated = 'maskd'", "[sampling] 'truncated': input should be 'graded', 'masked' or 'ungraded'"),
        ("[sampling]\ntemperature = nan", "[sampling] 'temperature': input should be a finite number, got nan"),
        ('[sampling]\nsampler = "vllm2"', "[sampling] 'sampler': "),
        (
            '[run]\nname = "a/b"',
            "[run] 'name': must be 1 to 128 letters, digits, dots, dashes or underscores, got 'a/b'",
        ),
        ('[run]\nname = ".."', "[run] 'name': must be 1 to 128 letters"),
        ('[run]\ntrackers = ["mlflow"]', "[run] 'trackers.0': input should be 'tensorboard', 'wandb' or 'trackio'"),
        ("[run]\nmax_ungraded_share = 1.5", "[run] 'max_ungraded_share': input should be less than or equal to 1"),
    ],
)
def test_a_wrong_setting_names_file_table_key_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, BASE + text)
    assert message(path).startswith(f"{path}: {expected}")


def test_a_field_is_given_to_a_server_once(tmp_path: Path) -> None:
    text = "[sampling]\nsampler = 'endpoint'\nstop = ['#']\n[endpoint]\nbody = {stop = ['Q']}"
    assert "[evaluation] stop is set, and [endpoint] body has 'stop' too: remove one" in message(
        written(tmp_path, BASE + text)
    )


def test_a_wrong_key_in_a_table_of_a_table_is_named_too(tmp_path: Path) -> None:
    path = written(tmp_path, BASE + "[model.lora]\nrnk = 1")
    assert message(path) == f"{path}: [model] unknown key 'lora.rnk'; did you mean 'rank'?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[model\n", "not valid TOML: "),
        ("a = 1\na = 2", "not valid TOML: "),
        ("", "the table [task] is missing; it needs at least 'name'"),
        ('[task]\nname = "countdown"', "[model] the key 'path' is missing"),
        ('[model]\npath = ""\n[task]\nname = "countdown"', "[model] 'path': string should have at least 1 character"),
        ('model = "x"\n[task]\nname = "countdown"', "'model' must be a table, [model], got 'x'"),
        (
            '[model]\npath = "x"\n[task]\nname = "countdwn"',
            "[task] unknown task 'countdwn'; allowed: countdown, arithmetic, ",
        ),
        ('[model]\npath = "x"\n[task]\nsize = 3', "[task] 'name' must be a task such as 'countdown' or 'file:PATH'"),
        ('[model]\npath = "x"\n[task]\nname = "countdown"\nnumbrs = 3', "[task] unknown key 'numbrs'; did you mean "),
    ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    assert message(path).startswith(f"{path}: {expected}")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert message(tmp_path / "no.toml") == f"{tmp_path / 'no.toml'}: no such file"
    assert "a config is a .toml file or a run's config.json" in message(written(tmp_path, BASE, "run.yaml"))
    assert "not valid JSON" in message(written(tmp_path, "{", "c.json"))
    assert "a config is a table of tables, got list" in message(written(tmp_path, "[1]", "d.json"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "not valid TOML" in message(tmp_path / "binary.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read" in message(tmp_path / "folder.toml")


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "dapo"])
def test_a_method_that_compares_completions_needs_two(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, BASE + f'[sampling]\ngroup_size = 1\n[method]\nname = "{name}"')
    expected = f"[sampling] group_size is 1, but {name} compares the completions of a group: at least 2"
    assert message(path) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[method]\nmax_reward = 0.5",
            "[method] max_reward is 0.5, below the reward of a correct completion of task 'countdown', 1: ",
        ),
        (
            "[optimizer]\npasses_per_step = 3",
            "[optimizer] passes_per_step is 3, which does not divide updates_per_step, 4",
        ),
        ("[sampling]\nproblems_per_step = 3", "[optimizer] updates_per_step is 4, but a pass has only 3 groups"),
        ("[optimizer]\nwarmup_steps = 5", "[optimizer] warmup_steps is 5, but schedule is 'constant': use 'warmup'"),
        ("[optimizer]\ndecay_steps = 5", "[optimizer] decay_steps and decay_to are for the schedules 'linear' and"),
        (
            '[optimizer]\nschedule = "cosine"\nwarmup_steps = 9\n[run]\nsteps = 9',
            "[optimizer] warmup_steps is 9, but the schedule ends with step 9 (decay_steps, by default [run] steps)",
        ),
        (
            '[method]\nname = "dapo"\n[sampling]\nmax_completion_tokens = 1024',
            "[method] overlong_buffer_tokens is 1024, but completions have at most 1024 tokens: ",
        ),
        (
            '[evaluation]\ntasks = ["math500", "math500"]',
            "[evaluation] tasks must differ from each other, got math500, math500",
        ),
    ],
)
def test_settings_that_contradict_are_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, BASE + text)
    assert message(path).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    "text",
    [
        "[sampling]\ngroup_size = 1",
        '[sampling]\ngroup_size = 1\n[method]\nname = "psr_nsr"',
        "[method]\nmax_reward = 2.0",
        "[optimizer]\nupdates_per_step = 4\npasses_per_step = 4\n[sampling]\nproblems_per_step = 1",
        '[method]\nname = "dapo"\noverlong_buffer_tokens = 0\n[sampling]\nmax_completion_tokens = 8',
        '[optimizer]\nschedule = "warmup"\nwarmup_steps = 5',
        '[optimizer]\nschedule = "linear"\nwarmup_steps = 8\n[run]\nsteps = 9',
    ],
)
def test_settings_at_the_edge_that_work_together_are_taken(tmp_path: Path, text: str) -> None:
    load_config(written(tmp_path, BASE + text))


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("run.steps=5", "run", "steps", 5),
        ("optimizer.lr=1e-4", "optimizer", "lr", 1e-4),
        ("method.name=grpo", "method", "name", "grpo"),
        ("method.name='grpo'", "method", "name", "grpo"),
        ('run.name="a b"', "run", "name", "a b"),
        ("run.name=a=b", "run", "name", "a=b"),
        (" run.steps = 5", "run", "steps", 5),
        ("method.refill=false", "method", "refill", False),
        ('run.trackers=["wandb"]', "run", "trackers", ["wandb"]),
        ("task.path=/a/b c.jsonl", "task", "path", "/a/b c.jsonl"),
        ("run.name=3\nsteps=9", "run", "name", "3\nsteps=9"),
    ],
)
def test_an_override_is_read_as_toml_or_as_plain_text(override: str, table: str, key: str, value: Any) -> None:
    tables: dict[str, Any] = {"run": {"steps": 1}}
    apply_overrides(tables, [override])
    assert tables[table][key] == value
    assert type(tables[table][key]) is type(value)


def test_overrides_reach_into_tables_and_the_last_one_counts(tmp_path: Path) -> None:
    config = load_config(
        written(tmp_path, BASE), ["model.lora.rank=4", "model.lora.alpha=8", "run.steps=2", "run.steps=3"]
    )
    assert config.model.lora is not None
    assert (config.model.lora.rank, config.model.lora.alpha, config.run.steps) == (4, 8.0, 3)


@pytest.mark.parametrize("override", ["steps", "steps=3", "run.steps", "=3", "run..steps=3", ".steps=3", "run.=3"])
def test_an_override_of_another_form_is_one_line(tmp_path: Path, override: str) -> None:
    assert message(written(tmp_path, BASE), override) == f"--set takes TABLE.KEY=VALUE, got '{override}'"


def test_an_override_through_a_value_is_one_line(tmp_path: Path) -> None:
    assert message(written(tmp_path, BASE), "model.path.x=3") == "--set model.path.x=3: 'path' is not a table"


def test_an_override_is_checked_like_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, BASE)
    assert message(path, "run.stepz=3") == f"{path}: [run] unknown key 'stepz'; did you mean 'steps'?"
    assert message(path, "run.steps=x") == f"{path}: [run] 'steps': input should be a valid integer, got 'x'"


def test_evaluation_tasks_are_those_named_or_the_training_task(tmp_path: Path) -> None:
    path = written(tmp_path, BASE)
    config = load_config(path)
    assert config.evaluation_tasks() == [config.task]
    named = load_config(path, ['evaluation.tasks=["aime2025", "amc23"]'])
    assert [task.slug for task in named.evaluation_tasks()] == ["aime2025", "amc23"]
    plain = named.model_copy(update={"task": named.task.model_copy(update={"chat": False, "prefill": "So"})})
    assert [(task.chat, task.prefill) for task in plain.evaluation_tasks()] == [(False, "So")] * 2


def test_a_step_needs_as_many_problems_as_it_samples(tmp_path: Path) -> None:
    path = written(tmp_path, BASE + "train_size = 7")
    load_config(path, ["sampling.problems_per_step=7"]).check_trainable()
    with pytest.raises(ConfigError, match=r"problems_per_step is 8, but task 'countdown' has only 7"):
        load_config(path, ["sampling.problems_per_step=8"]).check_trainable()


def test_every_setting_is_described() -> None:
    config = load_config(SHIPPED[0])
    for name in Config.model_fields:
        for key, field in type(getattr(config, name)).model_fields.items():
            assert field.description or key in {"clip_low", "clip_high", "filter", "name"}, f"[{name}] {key}"


def test_the_config_loads_no_torch_and_no_transformers() -> None:
    code = (
        "import sys\n"
        "from ngrpo.config import load_config\n"
        f"load_config({str(SHIPPED[0])!r})\n"
        "heavy = {'torch', 'transformers', 'sympy', 'peft', 'datasets', 'pyarrow', 'math_verify'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_override_makes_a_table_that_a_runs_config_leaves_out(tmp_path: Path) -> None:
    saved = written(tmp_path, json.dumps(load_config(written(tmp_path, BASE)).to_json()), "config.json")
    config = load_config(saved, ["model.lora.rank=4"])
    assert config.model.lora is not None
    assert config.model.lora.rank == 4


def test_an_unknown_task_to_evaluate_on_names_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, BASE + '[evaluation]\ntasks = ["amc24"]')
    assert message(path).startswith(f"{path}: [evaluation] tasks: unknown task 'amc24'; allowed: ")


def test_grpos_estimator_under_ngrpos_name_needs_two_completions_as_well(tmp_path: Path) -> None:
    path = written(tmp_path, BASE + "[sampling]\ngroup_size = 1\n[method]\nnum_virtual = 0")
    assert "group_size is 1, but ngrpo compares the completions of a group: at least 2" in message(path)
