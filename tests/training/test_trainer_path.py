"""The way of a reward through one step, traced: turned into numbers once, by few files."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import ngrpo
from ngrpo.config import load_config
from ngrpo.runs.observer import Observer
from ngrpo.runs.run_dir import RunDir
from ngrpo.training.trainer import Trainer

MOST_FILES = 48
PACKAGE = str(Path(ngrpo.__file__).parent)


def test_a_step_reads_each_grade_once(tmp_path: Path) -> None:
    config = load_config(Path("configs/countdown/ngrpo.toml"), overrides=["sampling.problems_per_step=4"])
    run = RunDir.create(tmp_path / "run", config.model_dump(mode="json"), seed=0)
    trainer = Trainer(config, run, Observer())
    trainer.step(1)  # imports what is imported when it is first used
    functions, files = Counter[str](), set[str]()

    def enter(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            functions[frame.f_code.co_name] += 1
            files.add(frame.f_code.co_filename)

    sys.setprofile(enter)
    try:
        trainer.step(2)
    finally:
        sys.setprofile(None)
    assert functions["rewards_of"] == 1
    assert len(files) <= MOST_FILES, sorted(files)
