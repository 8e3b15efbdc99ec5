"""A real TRL that resumes from any of its checkpoints ends with the weights of an uninterrupted run, bit for bit."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from trl import GRPOConfig

from ngrpo.adapters.trl import NGRPOConfig
from ngrpo.adapters.trl_resume import generation_file, load_generation, save_generation
from ngrpo.errors import CheckpointError
from tests.engines.trl_runs import OFFLINE, ROOT, Ours, Reward, Theirs, finished, settings, trainer

pytestmark = pytest.mark.filterwarnings("default")  # TRL's and torch's own


def run(kind: Any, folder: Path, resume: Path | None = None, problems: int = 96, **changes: Any) -> Any:
    """Seven updates, each with a checkpoint; returns the trainer."""
    config = (NGRPOConfig if kind is Ours else GRPOConfig)(
        **settings(folder, max_steps=7, save_strategy="steps", save_steps=1, **changes)
    )
    made = trainer(kind, config, Reward(ungraded=20))
    made.train_dataset = made.train_dataset.select(range(problems))
    made.train(resume_from_checkpoint=None if resume is None else str(resume))
    return made


def same_weights(one: Any, other: Any) -> bool:
    weights = dict(other.model.named_parameters())
    return all(torch.equal(p, weights[name]) for name, p in one.model.named_parameters())


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, (2, 4, 5)),  # a generation lasts four updates
        ({"gradient_accumulation_steps": 2, "per_device_train_batch_size": 16}, (3,)),
        ({"num_iterations": 2, "updates_per_generation": 2, "method": "grpo"}, (3, 5)),
        ({"problems": 16}, (4, 6)),  # an epoch has four updates, and the second another order
    ],
)
def test_a_resume_from_any_checkpoint_is_exact(tmp_path: Path, changes: dict[str, Any], steps: tuple[int, ...]) -> None:
    whole = run(Ours, tmp_path / "whole", **changes)
    for step in steps:
        resumed = run(Ours, tmp_path / "resumed", tmp_path / "whole" / f"checkpoint-{step}", **changes)
        assert resumed.state.global_step == 7
        assert resumed.rows == whole.rows[-len(resumed.rows) :]
        assert same_weights(resumed, whole)
        assert len(resumed.rows) * 7 == len(whole.rows) * (7 - step)


def test_only_checkpoints_within_a_generation_hold_one(tmp_path: Path) -> None:
    run(Ours, tmp_path)
    held = [generation_file(tmp_path / f"checkpoint-{step}", 0).exists() for step in range(1, 8)]
    assert held == [True, True, True, False, True, True, True]
    run(Ours, tmp_path, save_only_model=True)
    assert not list(tmp_path.rglob("ngrpo_generation_*"))


def test_trls_own_trainer_resumes_otherwise(tmp_path: Path) -> None:
    """The reason for all this: when it fails, TRL has mended its resume, and ours may be superfluous."""
    given = {"steps_per_generation": 4}
    whole = run(Theirs, tmp_path / "whole", **given)
    within = run(Theirs, tmp_path / "resumed", tmp_path / "whole" / "checkpoint-5", **given)
    assert not same_weights(within, whole)


@pytest.mark.parametrize("damage", ["missing", "torn", "other batch size"])
def test_a_generation_that_cannot_be_restored_is_sampled_again_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    run(Ours, tmp_path / "whole")
    file = generation_file(tmp_path / "whole" / "checkpoint-5", 0)
    changes: dict[str, Any] = {}
    if damage == "missing":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        changes = {"per_device_train_batch_size": 16}
    with caplog.at_level(logging.WARNING, logger="ngrpo"):
        resumed = run(Ours, tmp_path / "resumed", tmp_path / "whole" / "checkpoint-5", **changes)
    assert resumed.state.global_step == 7
    lines = [r.getMessage() for r in caplog.records if "resume within a generation" in r.getMessage()]
    assert len(lines) == 1
    assert str(file) in lines[0]
    assert "sampled again" in lines[0]


def test_the_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    whole = torch.arange(12).view(4, 3)
    batches: list[dict[str, Any]] = [
        {"ids": whole[:2], "logps": torch.randn(2, 3).bfloat16(), "count": torch.tensor(5), "num_images": [1, 2]},
        {"ids": whole[2:], "logps": torch.randn(2, 3).bfloat16(), "count": torch.tensor(5), "num_images": None},
    ]
    path, facts = tmp_path / "new" / "generation.safetensors", {"processes": 1}
    save_generation(path, 6, batches, facts)
    step, restored = load_generation(path, facts, "cpu")
    assert step == 6
    for got, given in zip(restored, batches, strict=True):
        assert got.keys() == given.keys()
        for name, value in given.items():
            equal = torch.equal(got[name], value) if isinstance(value, torch.Tensor) else got[name] == value
            assert equal
    with pytest.raises(CheckpointError, match="was saved with processes = 1, now it is 2"):
        load_generation(path, {"processes": 2}, "cpu")
    with pytest.raises(TypeError):
        save_generation(tmp_path / "other", 6, [{"object": object()}], facts)
    assert not (tmp_path / "other").exists()


TWO = """
import json, sys
from pathlib import Path
import torch

# transformers loads the optimizer of several processes onto "cpu:0", which torch does not know.
torch.serialization.register_package(0, lambda _: None, lambda stored, where: stored if where == "cpu:0" else None)
sys.path.insert(0, sys.argv[1])
from ngrpo.adapters.trl import NGRPOConfig
from tests.engines import trl_runs as test

folder, resume = Path(sys.argv[2]), sys.argv[3]
given = test.settings(folder, max_steps=6, per_device_train_batch_size=16, save_strategy="steps", save_steps=3)
config = NGRPOConfig(**given, ddp_backend="gloo", ddp_find_unused_parameters=False)
run = test.trainer(test.Ours, config, test.Reward(ungraded=20))
run.train(resume_from_checkpoint=resume or None)
weights = [p.detach().double().abs().sum().item() for p in run.model.parameters()]
print(run.accelerator.num_processes, json.dumps(weights))
(folder / f"{run.accelerator.process_index}.json").write_text(json.dumps(weights))
# Left to the interpreter's end, gloo may abort the process when the other one has closed its connections.
run.accelerator.end_training()
"""


def test_two_processes_resume_exactly(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    found = []
    for name, resume in (("whole", ""), ("resumed", str(tmp_path / "whole" / "checkpoint-3"))):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
        finished([*command, ROOT, str(folder), resume], tmp_path, seconds=300, env=OFFLINE)
        found.append([json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)])
    assert sorted(path.name for path in (tmp_path / "whole" / "checkpoint-3").glob("ngrpo*")) == [
        "ngrpo_generation_0.safetensors",
        "ngrpo_generation_1.safetensors",
    ]
    assert found[0] == found[1]
