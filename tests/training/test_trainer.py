"""Whole runs of the shipped model: what each setting changes, exact resume, the same run twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ngrpo.config import Config
from ngrpo.errors import CheckpointError, ConfigError, TrainingError
from ngrpo.runs.opening import open_run
from ngrpo.runs.run_dir import RunDir
from ngrpo.training import trainer as trainer_module
from ngrpo.training import tripwires
from ngrpo.training.trainer import Trainer
from ngrpo.types import Grade

Train = Callable[..., RunDir]


def metrics(run: RunDir) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times."""
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in run.read_metrics()]


def metrics_text(run: RunDir) -> str:
    return "\n".join(map(json.dumps, metrics(run)))


def weights(run: RunDir, name: str = "model.safetensors") -> bytes:
    newest = run.latest_checkpoint()
    assert newest is not None
    return (newest[1] / name).read_bytes()


def assert_same_run(a: RunDir, b: RunDir) -> None:
    assert metrics_text(a) == metrics_text(b)
    assert a.rollouts_path.read_bytes() == b.rollouts_path.read_bytes()
    assert weights(a) == weights(b)
    assert weights(a, "optimizer.safetensors") == weights(b, "optimizer.safetensors")
    assert weights(a, "trainer_state.json") == weights(b, "trainer_state.json")


SIX = ("run.steps=6", "optimizer.lr=3e-4", "task.train_size=20")  # several epochs, filtered groups, refills


@pytest.fixture(scope="module")
def six_steps(tmp_path_factory: pytest.TempPathFactory, small_config: Any, train: Train) -> RunDir:
    return train(tmp_path_factory.mktemp("six") / "run", small_config(*SIX))


# One process, killed in the middle of writing what step 5 did: half of the lines, the last one torn.
KILLED = """
import os, signal, sys
from ngrpo.config import load_config
from ngrpo.storage import json_line
from ngrpo.runs.observer import Observer
from ngrpo.runs.opening import open_run
from ngrpo.runs.run_dir import RunDir
from ngrpo.training.trainer import Trainer
import torch
torch.set_num_threads(1)

config_path, folder, victim = sys.argv[1:]

class Killed(RunDir):
    def tear(self, path, records):
        lines = b"".join(map(json_line, records))
        with path.open("ab") as file:
            file.write(lines[: len(lines) // 2 + 7])
        os.kill(os.getpid(), signal.SIGKILL)

    def append_rollouts(self, rollouts):
        if victim == "rollouts" and rollouts[0]["step"] == 5:
            self.tear(self.rollouts_path, rollouts)
        super().append_rollouts(rollouts)

    def append_metrics(self, metrics):
        if victim == "metrics" and metrics["step"] == 5:
            self.tear(self.metrics_path, [metrics])
        super().append_metrics(metrics)

config = load_config(config_path)
run = Killed.create(folder, config.to_json(), seed=config.run.seed)
Trainer(config, run, Observer()).train()
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, small_config: Any) -> dict[str, Path]:
    """Runs in fresh processes, side by side: one whole, and two that die in step 5."""
    base = tmp_path_factory.mktemp("processes")
    started = {}
    for victim, save_every in (("none", 0), ("rollouts", 3), ("metrics", 2)):
        config = base / f"{victim}.json"
        config.write_text(json.dumps(small_config(*SIX, f"run.save_every={save_every}").to_json()))
        command = [sys.executable, "-c", KILLED, str(config), str(base / victim), victim]
        started[victim] = subprocess.Popen(command)
    for victim, process in started.items():
        assert process.wait(timeout=300) == (0 if victim == "none" else -signal.SIGKILL)
    return {victim: base / victim for victim in started}


def test_a_fresh_process_takes_the_same_run_byte_for_byte(processes: dict[str, Path], six_steps: RunDir) -> None:
    assert_same_run(RunDir.open(processes["none"]), six_steps)


@pytest.mark.parametrize(("victim", "checkpoint"), [("rollouts", 3), ("metrics", 4)])
def test_a_killed_run_resumes_byte_for_byte(
    processes: dict[str, Path], six_steps: RunDir, small_config: Any, train: Train, victim: str, checkpoint: int
) -> None:
    run = RunDir.open(processes[victim])
    torn = run.rollouts_path if victim == "rollouts" else run.metrics_path
    assert not torn.read_bytes().endswith(b"\n")
    newest = run.latest_checkpoint()
    assert newest is not None
    assert newest[0] == checkpoint
    train(run.path, small_config(*SIX, f"run.save_every={checkpoint}"))
    assert_same_run(run, six_steps)


def test_a_stopped_run_resumes_byte_for_byte(
    tmp_path: Path, six_steps: RunDir, small_config: Any, train: Train, listener: Any
) -> None:
    train(tmp_path / "run", small_config(*SIX, "run.steps=3"))
    run = train(tmp_path / "run", small_config(*SIX), listener)
    assert listener.first_step == 4
    assert listener.steps == [4, 5, 6]
    assert_same_run(run, six_steps)


def test_another_seed_is_another_run(tmp_path: Path, six_steps: RunDir, small_config: Any, train: Train) -> None:
    run = train(tmp_path / "run", small_config(*SIX, "run.seed=1", "run.steps=1"))
    problems = [[line["problem_id"] for line in r.read_rollouts() if line["step"] == 1] for r in (run, six_steps)]
    assert problems[0] != problems[1]
    assert weights(run) != weights(six_steps)


def test_adapters_resume_exactly(tmp_path: Path, small_config: Any, train: Train) -> None:
    lora = ("model.lora.rank=4", "run.save_every=1", "run.steps=2", "optimizer.lr=1e-3", "method.name=grpo")
    whole = train(tmp_path / "whole", small_config(*lora))
    shutil.copytree(whole.path, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step_000002")
    cut = train(tmp_path / "cut", small_config(*lora))
    assert metrics_text(cut) == metrics_text(whole)
    assert metrics(whole)[1]["policy/ref_kl"] > 0
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        assert weights(cut, name) == weights(whole, name)


def test_a_checkpoint_that_cannot_be_used_leaves_the_run_as_it_was(
    tmp_path: Path, six_steps: RunDir, small_config: Any, train: Train
) -> None:
    shutil.copytree(six_steps.path, tmp_path / "run")
    run = RunDir.open(tmp_path / "run")
    folder = run.checkpoint_path(6).rename(run.checkpoint_path(4))
    (folder / "trainer_state.json").write_text(
        json.dumps({**json.loads(weights(run, "trainer_state.json")), "step": 4})
    )
    (folder / "optimizer.safetensors").write_bytes(b"torn")
    before = run.metrics_path.read_bytes()
    with pytest.raises(CheckpointError):
        Trainer(small_config(*SIX), run, trainer_module.Observer())
    assert run.metrics_path.read_bytes() == before


# Must show 5: each switch changes what it should and nothing else.


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory: pytest.TempPathFactory, small_config: Any, train: Train) -> Callable[..., RunDir]:
    """A run of 3 steps, made once for each set of overrides."""
    made: dict[tuple[str, ...], RunDir] = {}

    def run(*overrides: str) -> RunDir:
        if overrides not in made:
            config = small_config("optimizer.lr=1e-3", "sampling.problems_per_step=16", *overrides)
            made[overrides] = train(tmp_path_factory.mktemp("three") / "run", config)
        return made[overrides]

    return run


def step_rollouts(run: RunDir, step: int, *without: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in without} for line in run.read_rollouts() if line["step"] == step]


def advantages(run: RunDir, step: int) -> list[float]:
    return [line["advantage"] for line in step_rollouts(run, step)]


NO_FILTER = "method.filter=none"


@pytest.mark.parametrize(
    "override", ["method.num_virtual=2", "method.num_virtual=0", "method.std=population", "method.calibrate=all_wrong"]
)
def test_an_estimator_switch_changes_the_advantages_of_the_first_step_and_only_them(
    three_steps: Any, override: str
) -> None:
    base, changed = three_steps(NO_FILTER), three_steps(NO_FILTER, override)
    assert step_rollouts(base, 1, "advantage") == step_rollouts(changed, 1, "advantage")
    assert advantages(base, 1) != advantages(changed, 1)
    first, other = metrics(base)[0], metrics(changed)[0]
    differing = {key.split("/")[0] for key in first if first[key] != other[key]}
    assert differing <= {"advantage", "update", "clip", "policy"}
    assert {"advantage", "update"} <= differing
    assert first["policy/entropy"] == other["policy/entropy"]  # of what was sampled
    assert weights(base) != weights(changed)


def test_the_advantages_in_the_log_are_the_methods(three_steps: Any) -> None:
    from ngrpo.advantages import ngrpo_advantages

    run = three_steps(NO_FILTER, "method.num_virtual=2")
    lines = step_rollouts(run, 1)
    rewards = torch.tensor([line["reward"] for line in lines]).view(16, 4)
    logged = torch.tensor([line["advantage"] for line in lines]).view(16, 4)
    torch.testing.assert_close(logged, ngrpo_advantages(rewards, num_virtual=2), atol=1e-6, rtol=1e-6)


def test_no_virtual_completion_is_grpo(three_steps: Any) -> None:
    """With NGRPO's clip, without KL: the same run to the bit."""
    grpo = three_steps("method.name=grpo", "method.kl_coefficient=0.0", "method.clip_low=0.16", "method.clip_high=0.24")
    ours = three_steps(NO_FILTER, "method.num_virtual=0")
    assert metrics_text(ours) == metrics_text(grpo)
    assert weights(ours) == weights(grpo)


def test_the_clip_acts_from_the_second_update_on(three_steps: Any) -> None:
    wide, tight = three_steps(NO_FILTER), three_steps(NO_FILTER, "method.clip_low=0.001", "method.clip_high=0.001")
    assert step_rollouts(wide, 1) == step_rollouts(tight, 1)
    first, other = metrics(wide)[0], metrics(tight)[0]
    assert other["clip/low_fraction"] > first["clip/low_fraction"]
    assert other["clip/high_fraction"] > first["clip/high_fraction"]
    assert {k.split("/")[0] for k in first if first[k] != other[k]} <= {"update", "clip", "policy"}
    once = "optimizer.updates_per_step=1"
    one = [three_steps(NO_FILTER, once, *clip) for clip in ((), ("method.clip_low=0.01", "method.clip_high=0.01"))]
    # One update per step: the ratio is 1 but for rounding, so 1 % of room is as good as any.
    assert weights(one[0]) == weights(one[1])
    assert metrics_text(one[0]) == metrics_text(one[1])


def test_each_side_of_the_clip_binds_where_its_advantages_are(three_steps: Any) -> None:
    low = metrics(three_steps(NO_FILTER, "method.clip_low=0.001"))[0]
    high = metrics(three_steps(NO_FILTER, "method.clip_high=0.001"))[0]
    base = metrics(three_steps(NO_FILTER))[0]
    assert low["clip/low_fraction"] > base["clip/low_fraction"]
    assert high["clip/high_fraction"] > base["clip/high_fraction"]


def test_the_filter_drops_groups_and_refill_replaces_them(three_steps: Any) -> None:
    filters = {
        name: three_steps(f"method.filter={name}", "method.refill=false")
        for name in ("none", "all_correct", "all_incorrect", "all")
    }
    sampled = [step_rollouts(run, 1, "advantage") for run in filters.values()]
    assert all(one == sampled[0] for one in sampled)
    groups = {name: metrics(run)[0]["batch/groups"] for name, run in filters.items()}
    shares = metrics(filters["none"])[0]
    count = {kind: round(16 * shares[f"group/{kind}"]) for kind in ("all_wrong", "all_correct")}
    assert count["all_wrong"] > 0
    assert groups["none"] == 16
    assert groups["all_correct"] == 16 - count["all_correct"]
    assert groups["all_incorrect"] == 16 - count["all_wrong"]
    assert groups["all"] == 16 - count["all_wrong"] - count["all_correct"]
    # What a filter dropped has no advantage in the log, everything else keeps its own.
    dropped = [line for line in step_rollouts(filters["all"], 1) if line["advantage"] is None]
    assert len(dropped) == 4 * (16 - groups["all"])
    refilled = three_steps("method.filter=all")
    first = metrics(refilled)[0]
    assert first["batch/groups"] == 16
    assert first["batch/sampled_groups"] > 16
    assert step_rollouts(refilled, 1)[: 16 * 4] == step_rollouts(filters["all"], 1)
    assert first["total/rollouts_trained"] == 64 < first["total/rollouts_sampled"]
    assert metrics(filters["all"])[0]["total/rollouts_trained"] == 4 * groups["all"]


# Precision, memory, old_logprobs.


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.dtype=bfloat16",),
        ("model.dtype=bfloat16", "model.lora.rank=2"),
        ("model.lora.rank=2", "model.gradient_checkpointing=true"),
        ("method.name=grpo",),
        ("method.name=dapo", "method.overlong_buffer_tokens=2"),
        ("method.name=rl_zvp",),
        ("sampling.top_p=0.9",),
        ("sampling.top_k=5", "sampling.min_p=0.01", "sampling.old_logprobs=recompute"),
        ("sampling.truncated=masked", "sampling.stop=['+']", "sampling.max_completion_tokens=7"),
        ("sampling.truncated=ungraded", "sampling.stop=['+']", "sampling.max_completion_tokens=7"),
        ("sampling.group_size=1",),
        ("optimizer.passes_per_step=2",),
    ],
)
def test_two_steps_of(overrides: tuple[str, ...], tmp_path: Path, small_config: Any, train: Train) -> None:
    lines = metrics(train(tmp_path / "run", small_config(*overrides, "run.steps=2")))
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert line["update/count"] == 4
        assert None not in line.values()
        # Where the sampler's logprobs are not exact they were computed again.
        assert ("policy/sampler_gap" in line) == any("bfloat16" in o or "recompute" in o for o in overrides)
        assert line.get("policy/sampler_gap", 0.0) < 0.5


def test_checkpointed_activations_give_the_same_run(tmp_path: Path, small_config: Any, train: Train) -> None:
    runs = [
        train(tmp_path / on, small_config("run.steps=2", f"model.gradient_checkpointing={on}"))
        for on in ("true", "false")
    ]
    assert metrics_text(runs[0]) == metrics_text(runs[1])
    assert weights(runs[0]) == weights(runs[1])


def test_recomputed_old_logprobs_are_the_samplers_in_float32(tmp_path: Path, small_config: Any, train: Train) -> None:
    run = train(tmp_path / "run", small_config("sampling.old_logprobs=recompute", "sampling.temperature=0.8"))
    assert all(line["policy/sampler_gap"] < 1e-4 for line in metrics(run))


def test_rows_without_advantage_are_not_computed(tmp_path: Path, small_config: Any, train: Train) -> None:
    line = metrics(train(tmp_path / "run", small_config("run.steps=1", "method.num_virtual=0", NO_FILTER)))[0]
    assert line["update/rows"] == 32
    assert line["update/rows_computed"] == 32 * line["advantage/nonzero"] < 32


# What stops a run, and what does not.


def ungraded_countdown(monkeypatch: pytest.MonkeyPatch, splits: tuple[str, ...]) -> None:
    from ngrpo.tasks.countdown import Countdown

    grade_many = Countdown.grade_many

    def broken(self: Countdown, answers: Any) -> list[Grade]:
        if any(f"-{split}-" in answers[0][0].id for split in splits):
            return [Grade("ungraded", 0.0, None, "worker crashed")] * len(answers)
        return grade_many(self, answers)

    monkeypatch.setattr(Countdown, "grade_many", broken)


def test_a_broken_grader_stops_the_run_in_one_line(
    tmp_path: Path, small_config: Any, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    ungraded_countdown(monkeypatch, ("train",))
    with pytest.raises(TrainingError, match=r"could not be graded \(worker crashed\)") as error:
        train(tmp_path / "run", small_config())
    assert "\n" not in str(error.value)


def test_an_evaluation_in_which_nothing_could_be_graded_does_not_stop_the_run(
    tmp_path: Path, small_config: Any, train: Train, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ungraded_countdown(monkeypatch, ("test",))
    run = train(tmp_path / "run", small_config("evaluation.every=1", "run.steps=1"), listener)
    assert listener.steps == [1]
    assert listener.evaluations == []
    assert [m for m in listener.messages if "none of the 16 completions for countdown could be graded" in m]
    for found in run.read_summaries():
        assert found.summary["pass_at_k"] == {}
        assert found.summary["auc"] is None
        assert (found.summary["ungraded"], found.summary["ungraded_problems"]) == (16, 8)


def test_evaluations_are_taken_before_the_first_step_every_so_many_and_after_the_last(
    tmp_path: Path, small_config: Any, train: Train, listener: Any, six_steps: RunDir
) -> None:
    run = train(tmp_path / "run", small_config("evaluation.every=2"), listener)
    assert listener.evaluations == [(0, "countdown"), (2, "countdown"), (3, "countdown")]
    assert [found.step for found in run.read_summaries()] == [0, 2, 3]
    plain = train(tmp_path / "plain", small_config())
    assert metrics_text(plain) == metrics_text(run)  # evaluating takes no part in the training
    assert weights(plain) == weights(run)


def test_a_limit_of_rollouts_or_tokens_ends_the_run_and_divides_its_evaluations(
    tmp_path: Path, small_config: Any, train: Train, listener: Any, six_steps: RunDir
) -> None:
    lines = six_steps.read_metrics()
    assert lines[-1]["total/tokens_sampled"] == sum(line["completion/tokens"] for line in lines)
    for name in ("rollouts", "tokens"):
        used = [line[f"total/{name}_sampled"] for line in lines]
        listener.evaluations.clear()
        limit = used[4]
        settings = (*SIX, f"run.max_{name}={limit}", "evaluation.count=2", "evaluation.at_start=false")
        run = train(tmp_path / name, small_config(*settings), listener)
        halfway = next(step for step, total in enumerate(used, 1) if 2 * total >= limit)
        assert listener.evaluations == [(halfway, "countdown"), (5, "countdown")]
        assert metrics_text(run) == "\n".join(metrics_text(six_steps).splitlines()[:5])


def test_a_run_with_a_limit_resumes_and_is_finished_at_it(
    tmp_path: Path, small_config: Any, train: Train, listener: Any, six_steps: RunDir
) -> None:
    used = [line["total/rollouts_sampled"] for line in six_steps.read_metrics()]
    settings = (*SIX, "evaluation.count=2", "evaluation.at_start=false")
    train(tmp_path / "run", small_config(*settings, "run.steps=2"))
    run = train(tmp_path / "run", small_config(*settings, f"run.max_rollouts={used[3]}"), listener)
    assert listener.steps == [3, 4]
    assert listener.evaluations[-1] == (4, "countdown")
    whole = train(tmp_path / "whole", small_config(*settings, f"run.max_rollouts={used[3]}"))
    assert weights(whole) == weights(run)
    with pytest.raises(ConfigError, match=r"reached its limit after 4 steps; .*: --set run\.max_rollouts=N$"):
        open_run(run.path, small_config(*settings, f"run.max_rollouts={used[3]}"), print, resume=True)


def test_a_filter_that_drops_everything_ends_the_run(
    tmp_path: Path, small_config: Any, train: Train, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tripwires, "MAX_EMPTY_STEPS", 3)
    hopeless = ("method.name=grpo", "method.filter=all", "method.refill=false", "sampling.max_completion_tokens=1")
    with pytest.raises(TrainingError, match=r"3 steps in a row had no group to train on: .* 100% all-wrong"):
        train(tmp_path / "run", small_config(*hopeless, "run.steps=9"), listener)
    assert listener.steps == [1, 2]
    assert [line["update/count"] for line in RunDir.open(tmp_path / "run").read_metrics()] == [0, 0]


def test_a_batch_that_is_not_full_is_said_once(tmp_path: Path, small_config: Any, train: Train, listener: Any) -> None:
    config = small_config("method.filter=all", "method.max_refill_factor=1.0")
    run = train(tmp_path / "run", config, listener)
    assert all(line["batch/groups"] < 8 for line in metrics(run))
    (message,) = listener.messages
    assert "of 8 groups after sampling 8 problems: filter 'all' dropped the others" in message
    assert "max_refill_factor is reached" in message


def test_problems_running_out_is_said(tmp_path: Path, small_config: Any, train: Train, listener: Any) -> None:
    train(tmp_path / "run", small_config("method.filter=all", "task.train_size=9", "run.steps=1"), listener)
    assert "no problem is left" in listener.messages[0]


def test_too_few_problems_are_found_before_the_model_is_loaded(tmp_path: Path, small_config: Any) -> None:
    config: Config = small_config("task.train_size=7", f"model.path={tmp_path / 'nothing'}")
    run = RunDir.create(tmp_path / "run", config.to_json(), seed=0)
    with pytest.raises(ConfigError, match="has only 7 training problems"):
        Trainer(config, run, trainer_module.Observer())


def test_saving_and_the_log_of_rollouts_follow_the_config(tmp_path: Path, small_config: Any, train: Train) -> None:
    run = train(tmp_path / "run", small_config("run.save_every=2", "run.keep_rollouts=false"))
    assert [step for step, _ in run.checkpoints()] == [2, 3]
    assert not run.rollouts_path.exists()


def test_the_prompt_is_on_the_first_line_of_each_group(tmp_path: Path, train: Any, small_config: Any) -> None:
    run = train(tmp_path / "run", small_config("run.steps=1", "task.prompt=Q {question} :"))
    lines = list(run.read_rollouts())
    assert {line["sample"] for line in lines if "prompt" in line} == {0}
    firsts = [line for line in lines if line["sample"] == 0]
    assert len(firsts) == 8
    problems = {problem.id: problem for problem in run_problems(small_config)}
    for line in firsts:
        assert line["prompt"] == f"Q {problems[line['problem_id']].question} :"


def run_problems(small_config: Any) -> Any:
    return small_config().task.problems("train")
