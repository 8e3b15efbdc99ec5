"""What verl leaves behind, brought into a run folder; verl's side is written here as its processes write it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_model

from ngrpo.config import ModelSettings, config_of
from ngrpo.engines.verl.records import StepRecord, append_evaluated
from ngrpo.engines.verl.results import Results
from ngrpo.engines.verl.rollout_rows import missing_rollout
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.engines.verl.verl_metrics import learned_metrics, updates_of
from ngrpo.errors import CheckpointError, ConfigError
from ngrpo.models import load_language_model
from ngrpo.runs.observer import Observer
from ngrpo.runs.run_dir import RunDir
from ngrpo.storage import read_json_lines
from ngrpo.types import Completion, Grade, Group, Rollout

TOLD = {
    "actor/loss": 0.25,
    "actor/grad_norm": 2.0,
    "actor/clip_low_fraction": 0.125,
    "timing_s/step": 4.0,
    "timing_s/gen": 3.0,
    "perf/throughput": 9.0,
}


class Heard(Observer):
    def __init__(self):
        self.heard = []

    def on_step(self, step, metrics):
        self.heard.append(("step", step, metrics["total/updates"]))

    def on_evaluation(self, step, task, summary):
        self.heard.append(("evaluation", step, task, summary["pass_at_k"]["1"]))

    def on_message(self, text):
        self.heard.append(("message", text))


class Verl:
    """Writes what verl's processes write."""

    def __init__(self, files):
        self.files = files
        files.folder.mkdir()

    def sampled(self, step, groups=4):
        metrics = {"batch/groups": groups, "completion/tokens": 100}
        lines = [{"step": step, "problem_id": f"p{i}", "sample": 0, "advantage": None} for i in range(groups)]
        StepRecord(metrics, 2 * groups, groups, lines).write(self.files.step(step))

    def logged(self, step, told=None, end="\n"):
        with self.files.metrics.open("a") as file:
            file.write(json.dumps({"step": step, "data": TOLD if told is None else told}) + end)

    def saved(self, step, noted=True):
        self.files.model(step).mkdir(parents=True)
        (self.files.model(step) / "config.json").write_text("{}")
        if noted:
            self.files.newest_checkpoint.write_text(str(step))


@pytest.fixture
def config():
    return config_of(
        {
            "task": {"name": "countdown", "train_size": 20, "test_size": 3},
            "model": {"path": "builtin:countdown-base"},
            "sampling": {"problems_per_step": 4, "group_size": 2},
            "optimizer": {"updates_per_step": 2},
            "evaluation": {"samples": 2},
        }
    )


@pytest.fixture
def folder(tmp_path, config):
    run = RunDir.create(tmp_path / "run", config.to_json(), seed=0)
    return run, Verl(VerlFiles(run.path))


def test_a_step_is_taken_over_once_when_its_line_is_whole(folder, config):
    run, verl = folder
    heard = Heard()
    results = Results(config, run, heard)
    results.take_over()
    verl.sampled(1)
    results.take_over()
    assert run.read_metrics() == []  # its updates are not over
    verl.logged(1, end="")
    results.take_over()
    assert run.read_metrics() == []
    with verl.files.metrics.open("a") as file:
        file.write("\n")
    verl.sampled(2, groups=3)
    verl.logged(2)
    for _ in range(2):
        results.take_over()
    first, second = run.read_metrics()
    assert (first["step"], first["update/loss"], first["clip/low_fraction"]) == (1, 0.25, 0.125)
    assert (first["time/sample_seconds"], first["time/tokens_per_second"]) == (3.0, 25.0)
    assert (first["total/rollouts_sampled"], first["total/rollouts_trained"], first["total/updates"]) == (8, 4, 2)
    assert (second["total/rollouts_sampled"], second["total/rollouts_trained"]) == (14, 7)
    assert second["total/tokens_sampled"] == first["completion/tokens"] + second["completion/tokens"] > 0
    assert not any("perf" in key or "actor" in key for key in first)
    assert [line["step"] for line in run.read_rollouts()] == [1] * 4 + [2] * 3
    assert heard.heard == [("step", 1, 2), ("step", 2, 4)]
    assert list(verl.files.steps.iterdir()) == []


def test_evaluations_become_samples_files_in_the_order_of_the_problems(folder, config):
    run, verl = folder
    heard, task = Heard(), config.task
    problems = list(task.problems("test"))
    for problem in (problems[2], problems[0]):  # the one between them never came
        rollouts = [
            Rollout(problem, 0, *_sampled("correct" if problem is problems[0] else "wrong")),
            missing_rollout(problem, 1) if problem is problems[0] else Rollout(problem, 1, *_sampled("wrong")),
        ]
        group = Group(problem, None, tuple(rollouts))
        append_evaluated(verl.files.evaluated(0, task.slug), [group], seed=config.run.seed)
    verl.logged(0, {"val-core/whatever": 1.0})
    Results(config, run, heard).take_over()
    (summary,) = run.read_summaries()
    lines = list(read_json_lines(run.evaluation_dir(0, task.slug) / "samples.jsonl"))
    assert [(line["problem_id"], line["sample"]) for line in lines] == [(p.id, s) for p in problems for s in (0, 1)]
    assert [line["status"] for line in lines] == ["correct", *["ungraded"] * 3, "wrong", "wrong"]
    assert (summary.summary["ungraded"], summary.summary["ungraded_problems"]) == (3, 1)
    assert summary.summary["pass_at_k"]["1"] == 0.5
    assert heard.heard[0][0] == "message"
    assert "3 completions for countdown never came" in heard.heard[0][1]
    assert heard.heard[1] == ("evaluation", 0, "countdown", 0.5)
    assert run.read_metrics() == []
    assert list(verl.files.evaluations.iterdir()) == []


def test_checkpoints_are_links_to_models_that_are_whole(folder, config):
    run, verl = folder
    results = Results(config, run, Heard())
    verl.saved(1, noted=False)
    results.take_over()
    assert run.latest_checkpoint() is None
    verl.saved(2)
    results.take_over()
    assert [step for step, _ in run.checkpoints()] == [1, 2]
    moved = run.path.rename(run.path.with_name("moved"))
    assert (moved / "checkpoints" / "step_000002" / "config.json").read_text() == "{}"


def test_adapters_become_an_adapter_folder_that_our_loader_reads(tmp_path, config):
    adapted = config_of(
        {**config.to_json(), "model": {"path": "builtin:countdown-base", "lora": {"rank": 2, "alpha": 4}}}
    )
    run = RunDir.create(tmp_path / "run", adapted.to_json(), seed=0)
    verl = Verl(VerlFiles(run.path))
    trained = load_language_model(adapted.model, for_training=True)
    for name, parameter in trained.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    verl.saved(3)
    folder = verl.files.model(3)
    save_model(trained.model, str(folder / "m.safetensors"))
    trained.tokenizer.save_pretrained(folder)
    Results(adapted, run, Heard()).take_over()
    ((step, checkpoint),) = run.checkpoints()
    assert step == 3
    assert not (checkpoint / "m.safetensors").exists()
    found = load_language_model(ModelSettings(path=str(checkpoint)), for_training=False)
    tokens = torch.arange(9)[None]
    with torch.no_grad():
        theirs, ours = (model.head(model.hidden_states(tokens)) for model in (trained, found))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with trained.starting_weights(), torch.no_grad():
        assert not torch.allclose(trained.head(trained.hidden_states(tokens)), ours, atol=1e-2)


def test_a_resumed_run_goes_on_from_the_newest_checkpoint(folder, config):
    run, verl = folder
    for step in (1, 2, 3):
        verl.sampled(step)
        verl.logged(step)
    verl.saved(2)
    verl.sampled(4)
    results = Results(config, run, Heard())  # whoever followed it was ended before any line was taken over
    results.prepare_resume()
    assert [line["step"] for line in run.read_metrics()] == [1, 2]
    assert {line["step"] for line in run.read_rollouts()} == {1, 2}
    assert results.step == 2
    assert not verl.files.metrics.exists()
    assert not verl.files.steps.exists()
    verl.sampled(3)
    verl.logged(3)
    results.take_over()
    assert run.read_metrics()[-1]["total/updates"] == 6


def test_a_step_that_was_saved_but_not_logged_keeps_what_was_sampled(folder, config):
    run, verl = folder
    verl.sampled(1)
    verl.saved(1)
    Results(config, run, Heard()).prepare_resume()
    (line,) = run.read_metrics()
    assert (line["batch/groups"], line["total/updates"]) == (4, 2)
    assert "update/loss" not in line


def test_what_was_taken_over_but_not_removed_is_not_taken_twice(folder, config):
    run, verl = folder
    verl.sampled(1)
    verl.logged(1)
    Results(config, run, Heard()).take_over()
    verl.sampled(1)
    Results(config, run, Heard()).take_over()
    assert len(run.read_metrics()) == 1


def test_there_is_nothing_to_resume_before_the_first_checkpoint(folder, config):
    run, verl = folder
    verl.sampled(1)
    verl.logged(1)
    with pytest.raises(CheckpointError, match="no checkpoint of verl"):
        Results(config, run, Heard()).prepare_resume()
    assert len(run.read_metrics()) == 1  # nothing is lost
    verl.saved(1, noted=False)
    verl.files.newest_checkpoint.write_text("")  # ended while it was noted
    with pytest.raises(CheckpointError, match="no checkpoint of verl"):
        Results(config, run, Heard()).prepare_resume()


def test_a_run_with_all_its_steps_is_not_resumed(folder, config):
    run, verl = folder
    verl.saved(config.run.steps)
    with pytest.raises(ConfigError, match=r"has already taken (\d+) of \1 steps"):
        Results(config, run, Heard()).prepare_resume()


def test_updates_of_a_batch_that_is_not_full(config):
    passes = config_of({**config.to_json(), "optimizer": {"updates_per_step": 4, "passes_per_step": 2}})
    assert [updates_of(config, groups) for groups in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert [updates_of(passes, groups) for groups in (1, 2, 3, 4)] == [2, 2, 4, 4]
    found = learned_metrics(passes, {}, step=1, groups=4, rows=8, tokens=9)
    assert found == {"update/count": 4, "update/rows": 16, "update/lr": passes.optimizer.lr}
    assert math.isnan(learned_metrics(config, {"actor/loss": None}, step=1, groups=4, rows=8, tokens=9)["update/loss"])
    critic = learned_metrics(config, {"critic/vf_loss": 1.0, "timing_s/step": 3.0}, step=1, groups=4, rows=8, tokens=9)
    assert critic["critic/loss"] == 1.0
    assert (critic["update/count"], critic["update/rows"], critic["time/tokens_per_second"]) == (0, 0, 3.0)


def test_the_learning_rate_is_that_of_the_step(config):
    warming = config_of({**config.to_json(), "optimizer": {"schedule": "warmup", "warmup_steps": 4, "lr": 1e-3}})
    rates = [learned_metrics(warming, {}, step=step, groups=1, rows=1, tokens=1)["update/lr"] for step in (1, 3, 9)]
    assert rates == pytest.approx([2.5e-4, 7.5e-4, 1e-3])


def _sampled(status):
    completion = Completion("1", np.arange(2), np.full(2, -1.0, dtype=np.float32), "stop")
    return completion, Grade(status, float(status == "correct"))
