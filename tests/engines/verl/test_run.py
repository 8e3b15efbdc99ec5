"""Starting, following and ending the command, with a small program in verl's place; needs neither verl nor Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from ngrpo.config import load_config
from ngrpo.engines.verl import run as verl_run
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.errors import TrainingError
from ngrpo.runs.observer import Observer
from ngrpo.runs.run_dir import RunDir

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"
STEP = """
import json, os, sys
from pathlib import Path
folder = Path(os.environ["VERL_FILE_LOGGER_PATH"]).parent
(folder / "steps").mkdir(exist_ok=True)
record = dict(metrics={"batch/groups": 32, "completion/tokens": 8}, rollouts_sampled=4, rollouts_trained=4, rollouts=[])
(folder / "steps" / "000001.json").write_text(json.dumps(record))
with open(os.environ["VERL_FILE_LOGGER_PATH"], "w") as file:
    file.write(json.dumps({"step": 1, "data": {"timing_s/step": 2.0, "actor/loss": 0.5}}) + "\\n")
"""
FAIL = """
print("(TaskRunner pid=7) Traceback (most recent call last):", file=sys.stderr)
print("\\x1b[36m(TaskRunner pid=7)\\x1b[0m ngrpo.errors.TrainingError: step 2: nothing is left", file=sys.stderr)
print("see above", file=sys.stderr)
sys.exit(3)
"""
SLEEP = """
import subprocess, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2400)"])
(folder / "pids").write_text(json.dumps([os.getpid(), child.pid]))
time.sleep(2400)
"""


@pytest.fixture
def config():
    return load_config(CONFIG, ["task.train_size=4", "evaluation.every=0"])


@pytest.fixture
def run(tmp_path, config):
    return RunDir.create(tmp_path / "run", config.to_json(), seed=0)


def in_its_place(monkeypatch, program):
    monkeypatch.setattr(verl_run, "verl_command", lambda *_, **__: [sys.executable, "-c", program])


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=1800):
    """Waits; the limit is an end to a hang and no measure of speed, which a busy machine does not keep."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_was_done_is_in_the_run_folder_when_it_is_over(run, config, monkeypatch):
    in_its_place(monkeypatch, STEP)
    verl_run.run_verl(config, run, Observer())
    (line,) = run.read_metrics()
    assert (line["step"], line["update/loss"], line["time/tokens_per_second"]) == (1, 0.5, 4.0)


def test_the_first_evaluation_is_announced_with_its_size_and_the_settings_for_a_smaller_one():
    (fact,) = verl_run.first_evaluation_fact(load_config(CONFIG))
    assert fact == (
        "evaluation before the first step: 65,536 completions (1,024 problems x 64); fewer with [evaluation] problems "
        "or samples, none with every = 0"
    )
    small = load_config(CONFIG, ["evaluation.problems=8", "evaluation.samples=4"])
    assert verl_run.first_evaluation_fact(small)[0].startswith("evaluation before the first step: 32 completions (8 ")
    assert verl_run.first_evaluation_fact(load_config(CONFIG, ["evaluation.every=0"])) == []


def test_phases_are_told_from_the_start(run, config, monkeypatch):
    class Heard(Observer):
        told: ClassVar[list[object]] = []

        def on_start(self, facts, *, first_step, last_step):
            self.told.append("start")

        def on_phase(self, text):
            self.told.append(text)

        def on_step_progress(self, step, done, total):
            self.told.append((step, done, total))

    phase = json.dumps({"kind": "step", "text": "", "step": 1, "done": 3, "total": 8})
    in_its_place(monkeypatch, STEP + f"(folder / 'phase.json').write_text({phase!r})")
    verl_run.run_verl(config, run, Heard())
    assert Heard.told == ["start", "preparing the problems", "starting verl and Ray", (1, 3, 8)]


def test_an_error_of_verl_is_told_and_what_it_did_before_is_kept(run, config, monkeypatch):
    in_its_place(monkeypatch, STEP + FAIL)
    with pytest.raises(
        TrainingError, match=r"status 3: ngrpo.errors.TrainingError: step 2: nothing is left; see .*log"
    ):
        verl_run.run_verl(config, run, Observer())
    assert len(run.read_metrics()) == 1
    files = VerlFiles(run.path)
    assert "see above" in files.log.read_text()
    files.lost.write_text("the Ray worker x has died")  # of an earlier start
    with pytest.raises(TrainingError, match="nothing is left"):
        verl_run.run_verl(config, run, Observer())
    in_its_place(monkeypatch, f"from pathlib import Path; Path({str(files.lost)!r}).write_text('x has died'); 1 / 0")
    with pytest.raises(TrainingError, match="status 1: x has died; see"):
        verl_run.run_verl(config, run, Observer())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
@pytest.mark.skipif(sys.platform != "linux", reason="verl runs on Linux")
def test_however_we_are_ended_the_others_are_too(run, config, sent):
    program = (
        "import sys; from pathlib import Path\n"
        "from ngrpo.engines.verl import run as verl_run\n"
        "from ngrpo.config import load_config; from ngrpo.runs.observer import Observer\n"
        "from ngrpo.runs.run_dir import RunDir\n"
        f"verl_run.verl_command = lambda *_, **__: [sys.executable, '-c', {STEP + SLEEP!r}]\n"
        f"config = load_config({str(run.config_path)!r})\n"
        f"verl_run.run_verl(config, RunDir.open({str(run.path)!r}), Observer())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    pids = VerlFiles(run.path).folder / "pids"
    wait_for(lambda: pids.is_file() and pids.read_text().endswith("]"))
    started = json.loads(pids.read_text())
    assert all(map(alive, started))
    os.kill(process.pid, sent)
    process.wait()
    wait_for(lambda: not any(map(alive, started)))


def test_the_last_error_of_a_log_is_found_among_what_ray_prints(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("")
    assert verl_run.last_error(log) == "it printed nothing"
    log.write_text(
        "ValueError: the first\nray.exceptions.RayTaskError(OSError): \x1b[36mray::run()\x1b[39m (pid=1)\nbye\n"
    )
    assert verl_run.last_error(log) == "ray.exceptions.RayTaskError(OSError): ray::run() (pid=1)"
    log.write_text("ngrpo.errors.TrainingError: the cause\nray.exceptions.ActorDiedError: what follows from it\n")
    assert verl_run.last_error(log) == "ngrpo.errors.TrainingError: the cause"
    log.write_text("nothing of note\n\nthe end\n")
    assert verl_run.last_error(log) == "the end"
