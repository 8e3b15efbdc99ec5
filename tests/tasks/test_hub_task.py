"""`hub:` through the real `datasets` library, on local folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.table_rows import read_hub_rows

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        rows = [{"problem": f"What is {n}+{n}?", "answer": f"{2 * n}", "level": n} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def references(name: str, split: Any, **settings: Any) -> list[str]:
    return [problem.reference for problem in load_task({"name": name, **settings}).load_problems(split)]


def test_splits_columns_and_levels(mirror: Path) -> None:
    assert references(f"hub:{mirror}", "train") == ["0", "2", "4"]
    assert references(f"hub:{mirror}", "test") == ["0", "2"]
    assert references(f"hub:{mirror}:train", "test") == ["0", "2", "4"]
    assert references(f"hub:{mirror}:train", "test", test="test") == ["0", "2"]
    assert references(f"hub:{mirror}", "train", levels=[1, 2]) == ["2", "4"]
    assert references(f"hub:{mirror}", "train", reference="level", id="#") == ["0", "1", "2"]


def test_a_missing_split_data_set_or_subset_is_one_line(mirror: Path) -> None:
    for name, settings in ((f"hub:{mirror}:dev", {}), ("hub:owner/none", {}), (f"hub:{mirror}", {"subset": "x"})):
        with pytest.raises(DataError, match=r"could not be loaded: .*a local file can be given as file:PATH") as caught:
            references(name, "train", **settings)
        assert "\n" not in str(caught.value)


def test_wanted_columns_and_distinct_rows(tmp_path: Path) -> None:
    rows = [{"q": f"q{n}", "extra": {"index": f"i{n % 2}"}, "long": "x"} for n in range(5)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "train.parquet")
    found = read_hub_rows(str(tmp_path), "train", "", kept=("q", "extra", "absent"), distinct="extra.index")
    assert found == [{"q": "q0", "extra": {"index": "i0"}}, {"q": "q1", "extra": {"index": "i1"}}]


def test_the_file_name_of_a_data_set() -> None:
    assert load_task({"name": "hub:open-r1/OpenR1-Math-220k"}).slug == "open-r1_OpenR1-Math-220k"
    assert load_task({"name": "hub:a/b:train"}).slug == "a_b_train"


@pytest.mark.parametrize("name", ["hub:", "hub", "hub:a/b:", "hub::train", "hub:a/b:c:d"])
def test_a_wrong_name_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^'name': must be hub:OWNER/NAME or hub:OWNER/NAME:SPLIT, got"):
        load_task({"name": name})


def test_folders_of_save_to_disk(tmp_path: Path) -> None:
    def saved(*answers: str) -> Any:
        return datasets.Dataset.from_list([{"question": "q", "answer": answer} for answer in answers])

    saved("1", "2").save_to_disk(tmp_path / "one")
    splits = {"train": saved("3"), "test": saved("4"), "validation": saved("5")}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "three")
    datasets.DatasetDict(dev=saved("6")).save_to_disk(tmp_path / "dev")
    datasets.DatasetDict(a=saved("6"), b=saved("7")).save_to_disk(tmp_path / "other")
    assert (
        references(f"file:{tmp_path / 'one'}", "train") == references(f"file:{tmp_path / 'one'}", "test") == ["1", "2"]
    )
    assert references(f"file:{tmp_path / 'three'}", "train") == ["3"]
    assert references(f"file:{tmp_path / 'three'}", "test") == ["4"]
    assert references(f"file:{tmp_path / 'dev'}", "test") == ["6"]
    with pytest.raises(DataError, match="no split 'train', found: a, b"):
        references(f"file:{tmp_path / 'other'}", "train")
    (tmp_path / "one" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="not a folder of save_to_disk"):
        references(f"file:{tmp_path / 'one'}", "train")
