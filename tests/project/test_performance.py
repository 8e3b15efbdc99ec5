"""The tables of docs/performance.md are those that benchmarks/all.py makes of docs/results/performance.json."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

PAGE, RAW = Path("docs/performance.md"), Path("docs/results/performance.json")


@pytest.fixture(scope="module")
def every() -> ModuleType:
    spec = importlib.util.spec_from_file_location("all_benchmarks", "benchmarks/all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_figures(every: ModuleType) -> None:
    page = PAGE.read_text("utf-8")
    assert every.with_tables(page, json.loads(RAW.read_text("utf-8"))) == page


def test_every_table_has_figures(every: ModuleType) -> None:
    assert json.loads(RAW.read_text("utf-8")).keys() == every.TABLES.keys()


def test_a_page_without_a_place_for_a_table_is_an_error(every: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"has no place for the table of sample\.py$"):
        every.with_tables("# Performance\n", {"sample": {}})
