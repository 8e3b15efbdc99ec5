"""Fetches MATH, AIME2025 and AMC23 as the NGRPO repository has them, checked by SHA-256.

    python scripts/fetch_benchmarks.py shared        writes shared/data/*.parquet
    NGRPO_SHARED=shared make test                    runs the tests that need them
    python benchmarks/grade.py shared                grades MATH, the speed figures of README

The labelled answers behind the agreement figures of docs/grading.md (data/graded/) come from several sources and are
not fetched. Exit status: 0 done, 1 where a file cannot be fetched or is another one.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

SOURCE = "https://raw.githubusercontent.com/nangongrui-ngr/NGRPO/e7a380415a64cd8ac102504c38a5f86069022f35"
FILES = {
    "math_train.parquet": (
        "data/math/train.parquet",
        "964fc8055e7febe17a52de2f015c050c2a2da408aac5d9e205d950141f204b05",
    ),
    "math_test.parquet": (
        "test_dataset/math/test-00000-of-00001.parquet",
        "d570857db776722443a0e5ba598a77a61d91a99fc0d7493621e046c76c020b5c",
    ),
    "aime2025.parquet": (
        "test_dataset/aime2025/test-00000-of-00001.parquet",
        "7424467e813231d2bb8aaa4c4cbf99f6c5d2eb6e73d01a0191f0652f86cae468",
    ),
    "amc23.parquet": (
        "test_dataset/amc23/test-00000-of-00001.parquet",
        "dcb5b30743a968d7e3f1bfd2cbbe887fc1b4ba65e839b9456cb2011014be6d44",
    ),
}
"""File -> its path in the repository, and its SHA-256."""


def fetched(url: str, digest: str) -> bytes:
    """Returns the file behind an address.

    Raises:
        SystemExit: in one line, where it cannot be fetched or is another file.
    """
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - the scheme is ours
            content = bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"{url} cannot be fetched: {error}")
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        sys.exit(f"{url} is another file: SHA-256 {found}, expected {digest}")
    return content


def main() -> None:
    """Fetches what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="files go to FOLDER/data")
    parser.add_argument("--source", default=SOURCE, help="address of another copy of the repository's files")
    given = parser.parse_args()
    data = given.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, (path, digest) in FILES.items():
        target = data / name
        if not target.exists():
            target.write_bytes(fetched(f"{given.source}/{path}", digest))
        print(target)


if __name__ == "__main__":
    main()
