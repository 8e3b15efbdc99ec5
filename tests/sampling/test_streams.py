from __future__ import annotations

import itertools

import numpy as np
import pytest

from ngrpo.sampling.streams import stream_key, uniforms

FROZEN = [
    ((0, "step 1", "p", 0), 15207153722332884757, ("0x1.fcbc39571fb4ep-1", "0x1.c43aae47266a4p-1")),
    ((0, "step 1", "p", 1), 8886910795789342787, ("0x1.5734723897f78p-2", "0x1.afa9c0baa54f4p-3")),
    (
        (7, "evaluation", "aufgabe-ä \ud800 '\"", 3),
        7497484528467128747,
        ("0x1.1206186e17e26p-1", "0x1.25131a0a85cffp-1"),
    ),
]
"""Keys and first two numbers: were they to change, a resumed run or a repeated one would silently sample others."""


@pytest.mark.parametrize(("parts", "key", "numbers"), FROZEN)
def test_known_answers(parts: tuple[int, str, str, int], key: int, numbers: tuple[str, str]) -> None:
    assert stream_key(*parts) == key
    keys = np.array([key], dtype=np.uint64)
    assert tuple(float(uniforms(keys, position)[0]).hex() for position in range(2)) == numbers


def test_numbers_are_those_of_splitmix64() -> None:
    """The first outputs for seed 1234567 of the authors' C code, as published in several test suites."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    keys = np.array([1234567], dtype=np.uint64)
    assert [int(uniforms(keys, position)[0] * 2**53) for position in range(4)] == [value >> 11 for value in published]


def test_keys_differ_in_every_component() -> None:
    parts = itertools.product(
        (0, 1, -1, 2**70),
        ("", "a", "ab", "step 1", "step 11"),
        ("", "b", "bc", "c", "'", '"', "|0", "ä", "\ud800"),
        (0, 1),
    )
    keys = [stream_key(*part) for part in parts]
    assert len(set(keys)) == len(keys)


def test_neighbouring_texts_do_not_run_together() -> None:
    assert stream_key(0, "a", "bc", 0) != stream_key(0, "ab", "c", 0)
    assert stream_key(0, "a'|'b", "c", 0) != stream_key(0, "a", "b'|'c", 0)
    assert stream_key(1, "a", "b", 11) != stream_key(1, "a", "b1", 1)


def test_numpy_integers_give_the_key_of_plain_ones() -> None:
    assert stream_key(int(np.int64(3)), "a", "b", 4) == stream_key(np.int64(3), "a", "b", np.int64(4))  # type: ignore[arg-type]


def test_numbers_lie_in_the_half_open_unit_interval() -> None:
    extreme = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    for position in (0, 1, 2**31, 2**62):
        numbers = uniforms(extreme, position)
        assert numbers.dtype == np.float64
        assert ((numbers >= 0.0) & (numbers < 1.0)).all()
    assert uniforms(np.empty(0, dtype=np.uint64), 0).shape == (0,)


def table(streams: int, positions: int) -> np.ndarray:
    """Numbers [streams, positions] of the neighbouring samples of one problem."""
    keys = np.array([stream_key(0, "step 1", "p", sample) for sample in range(streams)], dtype=np.uint64)
    return np.stack([uniforms(keys, position) for position in range(positions)], axis=1)


@pytest.mark.parametrize("axis", ["streams", "positions"])
def test_numbers_are_uniform(axis: str) -> None:
    numbers = table(4000, 5) if axis == "streams" else table(5, 4000)
    counts = np.histogram(numbers, bins=50, range=(0.0, 1.0))[0]
    expected = numbers.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 85.4  # 99.9 % point of chi-square with 49 degrees of freedom


def test_neighbours_are_independent() -> None:
    """Of samples, and of positions: the correlation of 20,000 pairs has standard deviation 0.007."""
    numbers = table(2001, 11)
    for first, second in [(numbers[:-1], numbers[1:]), (numbers[:, :-1], numbers[:, 1:])]:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.028
