"""Random numbers that belong to a completion, not to a batch.

Each completion owns a stream: a 64-bit key hashed from (seed, round, problem, sample). Its t-th number is a pure
function of key and t (SplitMix64: Steele, Lea, Flood 2014, https://doi.org/10.1145/2660193.2660195), so there is no
state to save, and neither batching nor a resumed run changes what is sampled.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(seed: int, round_name: str, problem_id: str, sample: int) -> int:
    """Returns the 64-bit key of a completion's stream.

    Examples:
        >>> stream_key(0, "step 1", "p", 0) == stream_key(0, "step 1", "p", 1)
        False
    """
    # Quoted, so that no two (round, problem) run into the same text; escaped to ASCII, because what else counts as
    # printable differs between versions of Python.
    text = f"{seed}|{round_name!a}|{problem_id!a}|{sample}"
    return int.from_bytes(blake2b(text.encode("ascii"), digest_size=8).digest(), "little")


def uniforms(keys: NDArray[np.uint64], position: int) -> NDArray[np.float64]:
    """Returns the number at `position` of each stream, uniform on [0, 1) with 53 bits.

    Args:
        keys: stream keys [B].
        position: 0-based index of the token in its completion.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        z = keys + np.uint64(position + 1) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
