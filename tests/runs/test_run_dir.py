"""The run folder: what is written comes back, what is torn is ignored, what is unfinished has no name."""

import io
import json
from pathlib import Path

import pytest

from ngrpo.errors import ConfigError, DataError, NgrpoError
from ngrpo.runs.run_dir import RunDir, checked_name, installed_versions


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "run", {"run": {"seed": 7}}, seed=7)


def test_config_says_what_is_needed_to_repeat_the_run(tmp_path: Path) -> None:
    config = {"method": {"name": "ngrpo"}, "run": {"seed": 3}}
    RunDir.create(tmp_path / "a" / "b", config, seed=3)
    record = RunDir.open(tmp_path / "a" / "b").read_config()
    assert record["config"] == config
    assert record["seed"] == 3
    assert record["platform"]
    assert set(record["versions"]) >= {"python", "numpy"}


def test_versions_come_without_importing_the_packages() -> None:
    assert installed_versions()["numpy"].count(".") == 2


def test_an_empty_folder_may_be_used_and_a_full_one_not(tmp_path: Path) -> None:
    RunDir.create(tmp_path, {}, seed=0)
    (tmp_path / "mine.toml").touch()
    run = RunDir.create(tmp_path, {"a": 1}, seed=0)  # a config alone is taken over
    run.append_metrics({"step": 1})
    with pytest.raises(ConfigError, match="holds a run: continue it with --resume, replace it with --overwrite, or"):
        RunDir.create(tmp_path, {}, seed=0)
    (tmp_path / "note.txt").touch()
    RunDir.create(tmp_path, {}, seed=0, overwrite=True)
    assert sorted(names(tmp_path)) == ["config.json", "mine.toml", "note.txt"]
    with pytest.raises(ConfigError, match=r"not empty \(it holds 'note.txt'\): choose another --out"):
        RunDir.create(tmp_path, {}, seed=0)


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match=r"cannot make the run folder .*: File exists"):
        RunDir.create(tmp_path / "run", {}, seed=0)


def test_what_is_no_run_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run folder at"):
        RunDir.open(tmp_path / "missing")
    with pytest.raises(DataError, match=r"has no config\.json"):
        RunDir.open(tmp_path)


@pytest.mark.parametrize(("content", "message"), [("{", "cannot read"), ("[]", "expected a JSON object")])
def test_an_unreadable_config_is_said(run: RunDir, content: str, message: str) -> None:
    run.config_path.write_text(content)
    with pytest.raises(DataError, match=message):
        run.read_config()


def test_metrics_and_rollouts_come_back(run: RunDir) -> None:
    assert run.read_metrics() == []
    assert list(run.read_rollouts()) == []
    run.append_metrics({"step": 1, "reward/mean": 0.1 + 0.2})
    run.append_metrics({"step": 2, "reward/mean": float("nan")})
    run.append_rollouts([{"step": 1, "sample": 0, "completion": "3 5 +\n"}, {"step": 1, "sample": 1}])
    again = RunDir.open(run.path)
    assert again.read_metrics() == [
        {"step": 1, "reward/mean": 0.30000000000000004},
        {"step": 2, "reward/mean": None},
    ]
    assert [row["sample"] for row in again.read_rollouts()] == [0, 1]


def test_equal_metrics_give_equal_bytes(tmp_path: Path) -> None:
    runs = [RunDir.create(tmp_path / name, {}, seed=0) for name in "ab"]
    for run in runs:
        for step in range(5):
            run.append_metrics({"step": step, "reward/mean": step / 7, "policy/entropy": 1e-17})
    assert runs[0].metrics_path.read_bytes() == runs[1].metrics_path.read_bytes()


def test_truncation_leaves_the_bytes_of_a_run_that_stopped_there(run: RunDir) -> None:
    def write(steps: range) -> None:
        for step in steps:
            run.append_rollouts({"step": step, "sample": sample, "completion": "²"} for sample in range(3))
            run.append_metrics({"step": step, "reward/mean": step / 3})

    write(range(1, 4))
    expected = run.metrics_path.read_bytes(), run.rollouts_path.read_bytes()
    write(range(4, 6))
    with run.rollouts_path.open("ab") as file:
        file.write(b'{"step": 6, "sam')
    run.truncate_after(3)
    assert (run.metrics_path.read_bytes(), run.rollouts_path.read_bytes()) == expected


def test_truncation_of_an_unstarted_run_does_nothing(run: RunDir) -> None:
    run.truncate_after(0)
    assert names(run.path) == ["config.json"]


def test_truncation_drops_only_what_is_torn_at_the_end(run: RunDir) -> None:
    run.metrics_path.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(DataError, match="line 2 from the end: not JSON"):
        run.truncate_after(1)
    assert run.metrics_path.read_text().count("\n") == 3


@pytest.mark.parametrize("content", ['{"loss": 1.0}\n', "3\n", '{"step": "3"}\n'])
def test_a_line_without_step_stops_the_truncation(run: RunDir, content: str) -> None:
    run.metrics_path.write_text(content)
    with pytest.raises(DataError, match="line 1 from the end: the key 'step' is missing"):
        run.truncate_after(3)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("", ""),
        ('{"step": 5}\n', ""),
        ('{"st', ""),
        ('{"step": 3}', '{"step": 3}\n'),  # whole, though its newline never came
        ('{"step": 3}\n{"step": 4}', '{"step": 3}\n'),
    ],
)
def test_truncation_at_the_edges_of_a_file(run: RunDir, content: str, kept: str) -> None:
    run.rollouts_path.write_text(content)
    run.truncate_after(3)
    assert run.rollouts_path.read_text() == kept


class CountedFile(io.FileIO):
    """A file that counts the bytes read from all such files."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        CountedFile.total += len(content)
        return content


def test_truncation_reads_the_end_of_a_file_only(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(200):
        run.append_rollouts({"step": step, "completion": "x" * 1000} for _ in range(100))
    whole = run.rollouts_path.read_bytes()
    CountedFile.total = 0
    real_open = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **given: CountedFile(path) if mode == "rb" else real_open(path, mode, **given),
    )
    run.truncate_after(194)
    monkeypatch.undo()
    read = CountedFile.total
    assert 0 < read < len(whole) * 5 / 200 + 2 * (1 << 16)
    rest = run.rollouts_path.read_bytes()
    assert whole.startswith(rest)
    assert rest.count(b"\n") == 195 * 100


def test_checkpoints_are_listed_in_order_and_only_complete_ones(run: RunDir) -> None:
    assert run.checkpoints() == []
    assert run.latest_checkpoint() is None
    for step in (20, 1_000_000, 3):
        with run.new_checkpoint(step) as folder:
            (folder / "state.json").write_text("{}")
    (run.checkpoints_path / "step_7").mkdir()
    (run.checkpoints_path / ".step_000030.partial").mkdir()
    (run.checkpoints_path / "step_000040").touch()
    assert [step for step, _ in run.checkpoints()] == [3, 20, 1_000_000]
    assert run.latest_checkpoint() == (1_000_000, run.path / "checkpoints" / "step_1000000")
    assert run.checkpoint_path(20) == run.path / "checkpoints" / "step_000020"


def test_a_failed_checkpoint_leaves_nothing(run: RunDir) -> None:
    run.append_metrics({"step": 1})

    def fail_halfway() -> None:
        with run.new_checkpoint(1) as folder:
            (folder / "model.safetensors").write_bytes(b"half")
            raise NgrpoError("disk full")

    with pytest.raises(NgrpoError):
        fail_halfway()
    assert names(run.checkpoints_path) == []


def test_a_checkpoint_of_the_same_step_is_replaced(run: RunDir) -> None:
    for content in ("first", "second"):
        with run.new_checkpoint(5) as folder:
            (folder / "state.json").write_text(content)
    assert (run.checkpoint_path(5) / "state.json").read_text() == "second"
    assert names(run.checkpoints_path) == ["step_000005"]


def test_leftovers_of_a_killed_writer_go_at_the_next_start(run: RunDir) -> None:
    leftovers = [run.path / ".metrics.jsonl.partial", run.checkpoints_path / ".step_000002.partial"]
    leftovers[1].mkdir(parents=True)
    (leftovers[1] / "model.safetensors").write_bytes(b"half")
    leftovers[0].touch()
    RunDir.open(run.path)
    assert all(path.exists() for path in leftovers)  # a reader changes nothing: the writer may be alive
    run.truncate_after(0)
    assert not any(path.exists() for path in leftovers)


def test_evaluations_come_back_by_step_and_task(run: RunDir) -> None:
    run.write_summary(100, "countdown", {"auc": 0.5})
    run.write_summary(20, "amc23", {"auc": None})
    (run.evaluation_dir(30, "amc23") / "samples.jsonl").touch()
    assert [(e.step, e.task, e.summary["auc"]) for e in run.read_summaries()] == [
        (20, "amc23", None),
        (100, "countdown", 0.5),
    ]
    text = (run.path / "eval" / "000100" / "countdown" / "summary.json").read_text()
    assert json.loads(text) == {"auc": 0.5}


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "a\n", "é", "x" * 129, "file:x"])
def test_a_name_that_could_leave_the_folder_is_refused(run: RunDir, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a folder"):
        run.evaluation_dir(1, name)


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 128, "..."])
def test_a_plain_name_is_kept(name: str) -> None:
    assert checked_name(name) == name
