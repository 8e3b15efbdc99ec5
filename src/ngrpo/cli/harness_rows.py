"""Sample logs of lm-evaluation-harness as rows with one completion each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngrpo.errors import DataError


def harness_rows(rows: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Returns a row per response of a sample log of lm-evaluation-harness, none for any other file.

    Its lines hold the responses to a document as [[first, second, ...]], once for each filter: the lines of the first
    filter are taken. A metric with a value per response is spread as well.
    """
    if "doc_id" not in rows[0] or "resps" not in rows[0]:
        return []
    spread = []
    for number, row in enumerate(rows, start=1):
        if row.get("filter") != rows[0].get("filter"):
            continue
        requests = row.get("resps")
        responses = requests[0] if isinstance(requests, list) and len(requests) == 1 else None
        if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
            raise DataError(
                f"{where}, row {number}: 'resps' must hold the texts that answer one request, [[TEXT, ...]]: "
                "log probabilities of choices cannot be graded"
            )
        for place, text in enumerate(responses):
            own = {
                key: value[place] if _is_per_response(key, value, row, len(responses)) else value
                for key, value in row.items()
            }
            spread.append({**own, "completion": text})
    if not spread:
        raise DataError(f"{where}: 'resps' holds no responses")
    return spread


def _is_per_response(key: str, value: object, row: Mapping[str, Any], responses: int) -> bool:
    return key in (row.get("metrics") or ()) and isinstance(value, list) and len(value) == responses
