"""`ngrpo train --fit` under a memory limit: what it chooses runs, the next larger does not.

The model never stops, so that the completions of a real run are as long as those of the probe.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("trl") is None, reason="a minute: in the environment of the engine tests only"
)
ROOT = Path(__file__).parents[2]
LIMIT = 725 << 20
"""Bytes; a run halves 1,024 tokens below about 695 MiB, and 1,536 below about 755: none of the two is near."""
CONFIG = """
[model]
path = "{model}"
device = "cpu"
[task]
name = "file:{problems}"
prompt = "{{question}}"
grader = "exact"
chat = false
[method]
filter = "none"
[sampling]
problems_per_step = 4
group_size = 8
max_prompt_tokens = 16
max_completion_tokens = 112
[optimizer]
updates_per_step = 1
tokens_per_micro_batch = 2048
[run]
steps = 1
"""


@pytest.fixture
def config(tiny_model_folder: Path, tmp_path: Path) -> Path:
    from tests.conftest import script

    maker = script("make_random_qwen2")
    tokenizer = maker.byte_level_tokenizer(["What is 12 plus 30?"], 300)
    model = maker.random_model(tokenizer, hidden=512, intermediate=1024, layers=4, heads=8, kv_heads=8, vocabulary=300)
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    tokenizer.eos_token = None
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    problems = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {n} plus 30?"[:16].ljust(16, "?"), "answer": "1"} for n in range(10, 14)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(model=tmp_path / "model", problems=problems))
    return path


def run(config: Path, *arguments: str, limit: int) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "ngrpo", "train", str(config), *arguments],
        cwd=config.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_DATA, (limit, limit)),
    )


def test_the_chosen_micro_batch_runs_and_the_next_larger_does_not(config: Path) -> None:
    limit = LIMIT
    found = run(config, "--fit", "--json", limit=limit)
    assert found.returncode == 0, found.stderr
    tokens = json.loads(found.stdout)["tokens_per_micro_batch"]
    assert 128 <= tokens["value"] < tokens["too_large"] <= 2 * tokens["value"]
    halved = re.compile(r"out of memory in an update: micro-batches of (\d+) tokens in place of (\d+)")
    for size, fits in ((tokens["value"], True), (tokens["too_large"], False)):
        setting = f"optimizer.tokens_per_micro_batch={size}"
        trained = run(config, "--out", f"r{size}", "--set", setting, limit=limit)
        assert trained.returncode == 0, trained.stderr
        assert (halved.search(trained.stderr) is None) == fits, trained.stderr
