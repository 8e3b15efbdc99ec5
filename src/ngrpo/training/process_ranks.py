"""The processes that torchrun started: they proceed in lockstep, and an error or a signal in one ends all of them.

Every exchange is one message of each rank to all others. A rank that fails, or whose signal asks for the end, sends
that as its message of the next exchange, whichever it is; so nobody waits for a rank that has given up. A rank that
dies closes its connections, which ends the exchange of the others.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

import torch
from torch import nn

from ngrpo.config import Config
from ngrpo.errors import ConfigError, NgrpoError, RankError, error_line, printable
from ngrpo.runs.termination import StopRequested, StopSignals
from ngrpo.training.connections import Connections
from ngrpo.training.divisions import ROW_VALUES
from ngrpo.training.optimizer import UpdateSums
from ngrpo.training.ranks import Division, Place, Ranks, Row

T = TypeVar("T")
R = TypeVar("R")

_RESULT, _ERROR, _STOP = 0, 1, 2
"""First byte of a message."""


class ProcessRanks(Ranks):
    """One of several processes on this machine.

    Args:
        place: this process.
        stop: notes the signals that ask for the end.

    Raises:
        RankError: when the others cannot be reached.
    """

    def __init__(self, place: Place, stop: StopSignals) -> None:
        super().__init__(stop)
        self.number, self.count = place.rank, place.ranks
        self._work_is_interruptible = False
        self._connections = Connections(place)

    def close(self) -> None:
        """Ends the connections, when every rank is done."""
        self._connections.close()

    def check(self, config: Config) -> None:
        """See `Ranks.check`."""
        if config.sampling.kind.package is not None:
            raise ConfigError(
                f"[sampling] sampler '{config.sampling.sampler}' is not divided among the processes of torchrun: use "
                "'transformers', or --engine verl"
            )
        device, gpus = config.model.device, torch.cuda.device_count() if torch.cuda.is_available() else 0
        if ":" in device:
            raise ConfigError(
                f"[model] device is '{device}', but torchrun started {self.count} processes: choose 'auto', 'cuda' (a "
                "GPU for each) or 'cpu'"
            )
        if (device == "cuda" or (device == "auto" and gpus)) and gpus < self.count:
            raise ConfigError(
                f"torchrun started {self.count} processes, but there are {gpus} GPUs: start fewer, or set [model] "
                "device = 'cpu'"
            )

    def say(self, on_message: Callable[[str], None]) -> Callable[[str], None]:
        """See `Ranks.say`."""
        if self.leads:
            return on_message
        return lambda text: _write(f"rank {self.number}: {text}")

    def together(self, function: Callable[[], R]) -> R:
        """See `Ranks.together`; the function may exchange too."""
        results: list[R] = []

        def call() -> bytes:
            results.append(function())
            return b""

        self._exchanged(call)
        return results[0]

    def first(self, function: Callable[[], R]) -> R:
        """See `Ranks.first`; the function must not exchange, for the others wait."""
        answers = self._exchanged(lambda: json.dumps(function()).encode() if self.leads else b"")
        return json.loads(answers[0])  # type: ignore[no-any-return]

    def spread(
        self, items: Sequence[T], function: Callable[[Sequence[T]], Sequence[R]], division: Division[T, R]
    ) -> list[R]:
        """See `Ranks.spread`."""
        parts = division.parts(items, self.count)
        chosen = [[items[i] for i in part] for part in parts]
        own = chosen[self.number]
        answers = self._exchanged(
            lambda: division.pack(function(own)) if own else b"", interruptible=self._work_is_interruptible
        )
        results: dict[int, R] = {}
        for part, of_part, data in zip(parts, chosen, answers, strict=True):
            if part:
                results.update(zip(part, division.unpack(data, of_part), strict=True))
        return [results[i] for i in range(len(items))]

    def own(self, rows: Sequence[Row]) -> Sequence[Row]:
        """See `Ranks.own`."""
        return [rows[i] for i in ROW_VALUES.parts(rows, self.count)[self.number]]

    def accumulated(
        self, function: Callable[[], Sequence[UpdateSums]], parameters: Iterable[nn.Parameter]
    ) -> Sequence[UpdateSums]:
        """See `Ranks.accumulated`."""
        parameters, sums = list(parameters), list[UpdateSums]()

        def call() -> bytes:
            sums.extend(function())
            with_gradient = [i for i, parameter in enumerate(parameters) if parameter.grad is not None]
            return json.dumps([[one.to_json() for one in sums], with_gradient]).encode()

        answers = [json.loads(answer) for answer in self._exchanged(call)]
        # A parameter that has no gradient in any rank is left without: AdamW passes over it.
        gradients = []
        for i in sorted({i for _, with_gradient in answers for i in with_gradient}):
            if parameters[i].grad is None:
                parameters[i].grad = torch.zeros_like(parameters[i])
            gradients.append(parameters[i].grad)
        self._connections.add_up([gradient for gradient in gradients if gradient is not None])
        return [
            UpdateSums.joined([of_rank[place] for of_rank, _ in answers], rows=one.rows, computed=one.rows_computed)
            for place, one in enumerate(sums)
        ]

    def check_equal(self, name: str, value: float) -> None:
        """See `Ranks.check_equal`."""
        values = [answer.decode() for answer in self._exchanged(lambda: repr(value).encode())]
        if len(set(values)) > 1:
            raise self._shared(
                RankError(f"the ranks differ in {name} ({', '.join(values)}): their weights are no longer the same")
            )

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """See `Ranks.interruptible`; a signal interrupts this rank's own work in `spread`, never an exchange."""
        self.check_stop()
        self._work_is_interruptible = True
        try:
            yield
        finally:
            self._work_is_interruptible = False
        self.check_stop()

    def check_stop(self) -> None:
        """See `Ranks.check_stop`."""

        def call() -> bytes:
            self.stop.check()
            return b""

        self._exchanged(call)

    def _exchanged(self, function: Callable[[], bytes], *, interruptible: bool = False) -> list[bytes]:
        """Returns what the function of each rank returned.

        Raises:
            NgrpoError: the error of this rank, or of the first one that failed.
            StopRequested: after a signal in any rank.
        """
        own: BaseException | None = None
        kind = _RESULT
        try:
            with self.stop.interruptible() if interruptible else nullcontext():
                body = function()
        except StopRequested as stop:
            own, kind = stop, _STOP
            body = str(int(self.stop.requested or signal.SIGTERM)).encode()
        except Exception as error:  # noqa: BLE001 - raised again below, once the others know
            own, kind = error, _ERROR
            body = _described(error)
        if own is not None and _is_shared(own):  # by an exchange inside of the function: the others know
            raise self._shared(own)
        try:
            answers = self._connections.swapped(bytes([kind]) + body)
        except RankError as lost:
            lost.shared = True  # type: ignore[attr-defined]
            raise
        self._raise_first(answers, own)
        return [answer[1:] for answer in answers]

    def _raise_first(self, answers: Sequence[bytes], own: BaseException | None) -> None:
        """Raises the error of this rank, else that of the first rank that failed, else what a signal asks for."""
        if own is not None and not isinstance(own, StopRequested):
            raise self._shared(own)
        for number, answer in enumerate(answers):
            if answer[0] == _ERROR:
                status, line = json.loads(answer[1:])
                raise self._shared(RankError(f"rank {number}: {line}", status))
        for answer in answers:
            if answer[0] == _STOP:
                self.stop.requested = self.stop.requested or signal.Signals(int(answer[1:]))
                raise self._shared(own or StopRequested())

    def _shared(self, error: BaseException) -> Any:
        """Returns an error that every rank raises now; the first one reports it."""
        if not getattr(error, "shared", False):
            error.shared = True  # type: ignore[attr-defined]
            if isinstance(error, NgrpoError):
                error.reported = not self.leads
        return error


def _write(text: str) -> None:
    with suppress(OSError):  # a terminal that hung up
        sys.stderr.write(f"ngrpo: {printable(text)}\n")


def _is_shared(error: BaseException | None) -> bool:
    """Returns whether an error, or one that it was made of, was raised in every rank."""
    while error is not None:
        if getattr(error, "shared", False):
            return True
        error = error.__cause__ or error.__context__
    return False


def _described(error: Exception) -> bytes:
    """Returns the exit status and the line of an error, as JSON."""
    if isinstance(error, NgrpoError):
        return json.dumps([error.exit_status, str(error)]).encode()
    return json.dumps([1, f"{type(error).__name__}: {error_line(error)}"]).encode()
