from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError
from ngrpo.losses import load_balancing_loss


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-5, 5).map(float), min_size=5, max_size=5, unique=True), max_size=7),
    st.integers(1, 5),
)
def test_it_equals_the_plain_sum(rows: list[list[float]], k: int) -> None:
    logits = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    expected = 0.0
    for expert in range(5):
        chosen = [sorted(row, reverse=True).index(row[expert]) < k for row in rows]
        routed = [float(row.softmax(dim=0)[expert]) for row in logits]
        expected += 5 * (sum(chosen) / len(rows)) * (sum(routed) / len(rows)) if rows else 0.0
    assert float(load_balancing_loss(logits, k)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_router_is_pushed_away_from_the_expert_that_gets_every_token() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0]] * 4, requires_grad=True)
    load_balancing_loss(logits, 1).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    with pytest.raises(ConfigError, match="experts_per_token is 4; allowed are 1 to 3"):
        load_balancing_loss(logits, 4)
