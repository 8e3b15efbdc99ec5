"""docs/methods.md says of every method what the code has: its section, its settings, its numbers, its function."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ngrpo.methods import METHODS, GroupMethod, Method, load_method

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


def settings_table(text: str) -> dict[str, Any]:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| [^|]*\w[^|]* \|$", text, flags=re.MULTILINE)
    return {name: json.loads(value) for name, value in rows}


def defaults(method: type[Method]) -> dict[str, Any]:
    return {name: field.default for name, field in method.model_fields.items() if name != "name"}


def test_every_method_has_a_section_and_no_section_is_left_over() -> None:
    assert sorted(SECTIONS) == sorted(METHODS)


def test_the_common_settings_are_those_of_every_method() -> None:
    assert settings_table(PAGE.partition("\n## ")[0]) == {
        name: value for name, value in defaults(Method).items() if name in Method.model_fields
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_settings_table_holds_what_differs_and_what_is_the_methods_own(name: str) -> None:
    common = defaults(Method)
    own = {k: v for k, v in defaults(METHODS[name]).items() if k not in common or v != common[k]}
    assert settings_table(SECTIONS[name]) == own


@pytest.mark.parametrize("name", METHODS)
def test_a_section_names_the_function_and_the_paper(name: str) -> None:
    found = re.search(r"The function is `([\w.]+)\.(\w+)`", SECTIONS[name])
    assert found is not None
    function = getattr(importlib.import_module(found[1]), found[2])
    assert callable(function)
    paper = re.search(r"arxiv\.org/abs/[\d.]+\d", METHODS[name].paper)
    assert paper is not None
    assert paper[0] in SECTIONS[name] or name == "sova"  # its paper is not out: the section names the code


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if issubclass(method, GroupMethod)])
def test_the_overview_has_the_advantages_of_the_code(name: str) -> None:
    method = load_method({"name": name})
    assert isinstance(method, GroupMethod)
    advantages = method.advantages(torch.ones(9, 8, dtype=torch.float64).tril(-1)).tolist()
    row = re.search(rf"^\| `{name}` \| (.*/.*) \|$", PAGE, flags=re.MULTILINE)
    assert row is not None
    for correct, cell in zip((0, 1, 4, 7, 8), row[1].split(" | "), strict=True):
        dropped = {0: ("all", "all_incorrect"), 8: ("all", "all_correct")}.get(correct, ())
        group = advantages[correct]
        expected = group[:1] if correct == 8 else group[-1:] if correct == 0 else [group[0], group[-1]]
        if method.filter in dropped:
            assert cell == "dropped"
        else:
            assert [float(number) for number in cell.split(" / ")] == pytest.approx(expected, abs=6e-4)
