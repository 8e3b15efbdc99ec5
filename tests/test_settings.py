from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from ngrpo.errors import ConfigError
from ngrpo.settings import Settings, unknown_key


class Inner(Settings):
    rank: int = Field(16, ge=1)
    """Rank."""


class Table(Settings):
    """A table of every kind of field."""

    path: str = Field(min_length=1)
    """Path."""
    lr: float = Field(0.1, gt=0.0)
    """Learning rate."""
    steps: int = 3
    """Steps."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    on: bool = False
    """Switch."""
    pair: tuple[float, float] = (0.1, 0.2)
    """Pair."""
    names: tuple[str, ...] = ()
    """Names."""
    inner: Inner | None = None
    """Inner table."""

    @field_validator("steps")
    @classmethod
    def _odd(cls, steps: int) -> int:
        if steps % 2 == 0:
            raise ValueError("Must be odd")
        return steps

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        if self.kind == "b" and not self.on:
            raise ValueError("kind 'b' needs on")
        return self


def message(where: str = "", **table: object) -> str:
    with pytest.raises(ConfigError) as error:
        Table.parse({"path": "x", **table}, where=where)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_what_toml_gives_is_taken() -> None:
    table = Table.parse({"path": "x", "lr": 1, "pair": [1, 0.5], "names": ["a"], "inner": {"rank": 2}})
    assert (table.lr, table.pair, table.names) == (1.0, (1.0, 0.5), ("a",))
    assert isinstance(table.lr, float)
    assert table.inner == Inner(rank=2)
    assert Table.parse(table.model_dump(mode="json")) == table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"stepz": 1}, "unknown key 'stepz'; did you mean 'steps'?"),
        ({"zzz": 1}, "unknown key 'zzz'; allowed: inner, kind, lr, names, on, pair, path, steps"),
        ({"inner": {"rnk": 1}}, "unknown key 'inner.rnk'; did you mean 'rank'?"),
        ({"inner": {"zzz": 1}}, "unknown key 'inner.zzz'; allowed: rank"),
        ({"inner": {"rank": 0}}, "'inner.rank': input should be greater than or equal to 1, got 0"),
        ({"inner": 3}, "'inner': "),
        ({"lr": "0.1"}, "'lr': input should be a valid number, got '0.1'"),
        ({"lr": True}, "'lr': input should be a valid number, got True"),
        ({"lr": float("nan")}, "'lr': input should be a finite number, got nan"),
        ({"lr": float("-inf")}, "'lr': input should be a finite number, got -inf"),
        ({"lr": 0.0}, "'lr': input should be greater than 0, got 0.0"),
        ({"steps": 3.0}, "'steps': input should be a valid integer, got 3.0"),
        ({"steps": "3"}, "'steps': input should be a valid integer, got '3'"),
        ({"steps": 4}, "'steps': must be odd, got 4"),
        ({"kind": "c"}, "'kind': input should be 'a' or 'b', got 'c'"),
        ({"kind": "b"}, "kind 'b' needs on"),
        ({"on": 1}, "'on': input should be a valid boolean, got 1"),
        ({"on": "true"}, "'on': input should be a valid boolean, got 'true'"),
        ({"pair": [0.5]}, "'pair': too few items, got [0.5]"),
        ({"pair": [0.5, 0.5, 0.5]}, "'pair': "),
        ({"names": "ab"}, "'names': "),
        ({"names": ["a", 3]}, "'names.1': input should be a valid string, got 3"),
        ({"path": ""}, "'path': string should have at least 1 character, got ''"),
        ({"path": None}, "'path': input should be a valid string, got None"),
        ({"path": 3}, "'path': input should be a valid string, got 3"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(table: dict[str, object], expected: str) -> None:
    text = message("file.toml: [table] ", **table)
    assert text.startswith(f"file.toml: [table] {expected}")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^the key 'path' is missing$"):
        Table.parse({})


def test_a_long_value_is_cut() -> None:
    assert len(message(lr="x" * 1000)) < 150


def test_unknown_keys_name_the_nearest() -> None:
    assert (
        unknown_key("a.clip_hihg", ["clip_low", "clip_high"]) == "unknown key 'a.clip_hihg'; did you mean 'clip_high'?"
    )


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Table(path="x").lr = 3.0  # type: ignore[misc]
