"""Cutting a log of JSON lines at a step, from its end."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ngrpo.errors import DataError
from ngrpo.storage import lines_from_end


def keep_until(path: Path, step: int) -> None:
    """Cuts off the lines of later steps; steps only grow, so nothing before the last line that stays is read."""
    end, ending = 0, b""
    for number, (offset, line) in enumerate(lines_from_end(path), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if number == 1 and not line.endswith(b"\n"):  # torn: its writer was killed
                continue
            raise DataError(f"{path}, line {number} from the end: not JSON") from None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise DataError(f"{path}, line {number} from the end: the key 'step' is missing")
        if record["step"] <= step:
            end, ending = offset + len(line), b"" if line.endswith(b"\n") else b"\n"
            break
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(ending)
        file.flush()
        os.fsync(file.fileno())
