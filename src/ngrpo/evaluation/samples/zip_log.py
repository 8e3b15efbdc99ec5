"""The samples of an inspect_ai log in its .eval form: a zip with a JSON file per sample and epoch."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from ngrpo.errors import DataError, error_line
from ngrpo.evaluation.samples.entry import JsonRow

ZSTANDARD = 93
"""The compression method of newer logs, which Python's zipfile knows from 3.14 on."""
MOST_BYTES = 2**31
"""Of one sample."""


def zip_rows(file: IO[bytes]) -> Iterator[JsonRow]:
    """Yields the samples of a log, in its order; of one that still runs, those that are written.

    Raises:
        DataError: for a zip that is damaged or no such log.
    """
    try:
        with zipfile.ZipFile(file) as log:
            members = [info for info in log.infolist() if info.filename.startswith("samples/")]
            if not members:
                raise DataError("is a zip file without samples: not a log of inspect_ai (.eval)")
            # A sample that was run again is there twice; the last one counts.
            for info in {info.filename: info for info in members}.values():
                yield _object(_content(log, file, info), info.filename)
    except (zipfile.BadZipFile, zlib.error, OSError, struct.error, NotImplementedError) as error:
        raise DataError(f"is a damaged log of inspect_ai ({error})") from None


def _object(content: bytes, name: str) -> dict[str, Any]:
    try:
        sample = json.loads(content)
    except (ValueError, RecursionError):
        raise DataError(f"{name} is not JSON") from None
    if not isinstance(sample, dict):
        raise DataError(f"{name} is not a JSON object")
    return sample


def _content(log: zipfile.ZipFile, file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MOST_BYTES:
        raise DataError(f"{info.filename} is too large: {info.file_size} bytes")
    if info.compress_type != ZSTANDARD:
        return log.read(info)
    import pyarrow

    file.seek(info.header_offset)
    header = file.read(30)
    name, extra = struct.unpack("<HH", header[26:30])
    file.seek(info.header_offset + 30 + name + extra)
    packed = pyarrow.BufferReader(file.read(info.compress_size))
    try:
        content = pyarrow.CompressedInputStream(packed, "zstd").read()
    except pyarrow.ArrowException as error:
        raise zipfile.BadZipFile(error_line(error)) from None
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"wrong checksum of {info.filename}")
    return bytes(content)
