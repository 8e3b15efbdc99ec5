"""A server, and what its answers mean for the request: try again, do not, or read on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ngrpo.errors import short_line
from ngrpo.sampling.endpoint.protocol import message_of

BUSY = frozenset((408, 409, 425, 429, 502, 503, 504))
"""Statuses of a server, or of a proxy before it, that is busy or away: no fault of the request."""
OF_THE_REQUEST = frozenset((400, 413, 422, 451))
"""Refusals that may be about one request alone: too long, filtered, not allowed."""
FILTERED = 200
"""Status of a `Refusal` that came as an answer whose completion a content filter withheld."""
LARGEST_ANSWER = 1 << 28
"""Bytes of an answer; reading stops there."""


class FailedTryError(Exception):
    """A try without a result, where another may succeed.

    Attributes:
        pause_seconds: what the server asks for.
        busy: whether the server is busy or away, so that the request cannot be the cause.
    """

    def __init__(self, reason: str, pause_seconds: float = 0.0, *, busy: bool = False) -> None:
        super().__init__(reason)
        self.pause_seconds, self.busy = pause_seconds, busy


class Refusal(Exception):  # noqa: N818 - it may be no error: another form may be accepted
    """A request that the server refuses, with its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    @property
    def of_the_request(self) -> bool:
        """Whether other requests may well be answered."""
        return self.status in OF_THE_REQUEST or self.status == FILTERED

    def __str__(self) -> str:
        """Returns status and message."""
        return self.message if self.status == FILTERED else f"{self.status}: {self.message}"


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go: address up to /v1, served model, kind by `owned_by`, and the key (empty for none)."""

    url: str
    model: str
    kind: str
    key: str

    def client_options(self) -> dict[str, Any]:
        """Returns what an httpx client needs to know; a proxy is for servers elsewhere."""
        host = httpx.URL(self.url).host
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"headers": headers, "trust_env": host not in {"127.0.0.1", "::1", "localhost"}}

    def without_key(self, text: str) -> str:
        """Returns a text that may be shown: some servers repeat the key that they refuse."""
        return text.replace(self.key, "***") if self.key else text

    def check_status(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raises FailedTryError or Refusal for an answer without a result."""
        if 200 <= status < 300:
            return  # of those, another than 200 has no completion in it, which shows when it is read
        message = message_of(self.without_key(body.decode("utf-8", "replace")))
        if status in BUSY or status >= 500:
            pause = _retry_after(headers.get("retry-after", ""))
            raise FailedTryError(f"{status}: {message}", pause, busy=status in BUSY)
        if 300 <= status < 400:
            raise Refusal(status, f"it redirects to {short_line(headers.get('location', 'nowhere'))}")
        raise Refusal(status, message)


def failure_of(error: httpx.RequestError) -> FailedTryError:
    """Returns what an error on the way means; the text of some is nothing but their name."""
    busy = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return FailedTryError(short_line(str(error)) or type(error).__name__, busy=busy)


def too_large() -> FailedTryError:
    """Returns the failure of an answer whose end was not waited for."""
    return FailedTryError(f"an answer of more than {LARGEST_ANSWER:,} bytes")


def _retry_after(value: str) -> float:
    """Returns the seconds that a Retry-After header asks for, as a number or a date; 0 where it says neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return 0.0
    return seconds if seconds > 0.0 else 0.0  # NaN as well
