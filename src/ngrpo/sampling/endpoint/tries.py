"""How often a request is tried before its completion counts as refused."""

from __future__ import annotations

from ngrpo.sampling.endpoint.connection import FailedTryError

REFUSALS = 3
"""Refusals of a request after which its completion counts as refused."""
FAILURES = 16
"""Failed tries of a request after which its completion counts as refused; only those are counted that are no fault of
a busy or absent server, and between which it has answered other requests."""


class Tries:
    """What has come of the tries of a request."""

    def __init__(self) -> None:
        self.failed = self.refused = self._counted = 0
        self._answered = -1

    def used_up(self, failure: FailedTryError, answered: int) -> bool:
        """Notes a failure, and returns whether the request is given up.

        Args:
            failure: of this try.
            answered: how many requests the server has answered so far.
        """
        self.failed += 1
        if not failure.busy and answered > max(self._answered, 0):
            self._answered = answered
            self._counted += 1
        return self._counted >= FAILURES
