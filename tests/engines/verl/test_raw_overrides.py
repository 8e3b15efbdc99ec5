"""`[cluster.overrides]` beside what a config becomes; against verl's schema: test_overrides.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.engines.verl import raw_overrides
from ngrpo.engines.verl.raw_overrides import FREE, check_schema, flat, with_raw
from ngrpo.errors import ConfigError

NAMES = st.text("abc", min_size=1, max_size=2)
TABLES = st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8)


@given(st.dictionaries(NAMES, TABLES, max_size=3))
def test_tables_become_dotted_keys(tables):
    flattened = dict(flat(tables))
    for key, value in flattened.items():
        found = tables
        for part in key.split("."):
            found = found[part]
        assert found == value
        assert not isinstance(value, dict)


def test_settings_are_added_or_replace_those_that_may_be():
    ours = {"a.n": 8, "+a.new": 1, "actor_rollout_ref.rollout.max_num_seqs": 512}
    raw = {"b": {"c": True}, "+d": [1], "actor_rollout_ref.rollout.max_num_seqs": 64}
    assert "actor_rollout_ref.rollout.max_num_seqs" in FREE
    assert with_raw(ours, raw) == {**ours, "actor_rollout_ref.rollout.max_num_seqs": 64, "b.c": True, "+d": [1]}
    assert with_raw(ours, {}) == ours


@pytest.mark.parametrize("key", ["a.n", "+a.n", "a.new", "+a.new"])
def test_what_the_config_decides_is_refused_in_one_line(key):
    with pytest.raises(ConfigError) as error:
        with_raw({"a.n": 8, "+a.new": "x y"}, {key: 4})
    shown = "8" if key.endswith(".n") else "'x y'"
    name = key.lstrip("+")
    assert str(error.value) == (
        f"[cluster.overrides] '{name}' follows from the rest of the config, where it is {shown}: change it there"
    )


def test_without_verl_nothing_is_checked(monkeypatch):
    monkeypatch.setattr(raw_overrides, "find_spec", lambda _name: None)
    assert check_schema({"no.such": 1}) is False
