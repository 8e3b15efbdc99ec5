"""Requests under way: many at a time, each tried until its answer is whole, none lost and none delivered twice.

They live in one event loop in a thread of its own, so that grading goes on meanwhile and an abandoned sample closes its
connections at once, which tells the server to stop as well.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue

import httpx
import numpy as np

from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.errors import ConfigError, SamplerError, short_line
from ngrpo.sampling.endpoint.connection import (
    FILTERED,
    LARGEST_ANSWER,
    FailedTryError,
    Refusal,
    Server,
    failure_of,
    too_large,
)
from ngrpo.sampling.endpoint.events import Note, Retried, Sampled
from ngrpo.sampling.endpoint.protocol import (
    PATHS,
    Form,
    UnusableAnswerError,
    WithheldError,
    after_refusal,
    completion_of,
    request_body,
)
from ngrpo.sampling.endpoint.tries import REFUSALS, Tries
from ngrpo.sampling.sampler import Decoding, Request
from ngrpo.sampling.streams import stream_key
from ngrpo.types import Completion

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
"""Pauses between the tries of a request double from the first to the longest."""
_LARGEST_SEED = 0x7FFFFFFF
_CONNECT_SECONDS = 10.0
_STOP_SECONDS = 5.0
_SILENT_SECONDS = 5.0
"""Failing for so long is told."""


class SamplingJob:
    """One sample: starts at `start`, speaks through `events`, ends with None or an exception as the last event.

    Args:
        server: where the requests go.
        settings: concurrency, patience and the like.
        form: how to ask at first; `form` holds what it has become.
        requests: what is wanted.
        decoding: the distribution.
        seed_of: (seed, round_name) of the keys of the completions' streams.
    """

    def __init__(
        self,
        server: Server,
        settings: EndpointSettings,
        form: Form,
        requests: Sequence[Request],
        decoding: Decoding,
        seed_of: tuple[int, str],
    ) -> None:
        self.form = form
        self.events: SimpleQueue[Sampled | Retried | Note | BaseException | None] = SimpleQueue()
        self._server, self._settings = server, settings
        self._requests, self._decoding, self._seed_of = requests, decoding, seed_of
        self._chat_works = False
        self._cut_short = False
        self._last_answer = time.monotonic()
        self._failing_since: float | None = None
        self._waiting_said = False
        self._answered = 0
        self._loop = asyncio.new_event_loop()
        self._untaken: dict[int, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] = self._loop.create_task(self._main())
        self._thread = threading.Thread(target=self._run, name="endpoint", daemon=True)

    def start(self) -> None:
        """Sends the first requests."""
        self._thread.start()

    def taken(self, index: int) -> None:
        """Says that the completion of a request is in safe hands: the next one may be asked for in its place."""

        def note() -> None:
            future = self._untaken.pop(index)
            if not future.done():  # it is cancelled when the job stops
                future.set_result(None)

        with suppress(RuntimeError):  # the loop has ended on its own
            self._loop.call_soon_threadsafe(note)

    def stop(self) -> None:
        """Drops whatever is under way or still to be sent, and waits until its connections are closed."""
        with suppress(RuntimeError):  # the loop has ended on its own
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised again where the completions are awaited
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            end = error
        finally:
            self._loop.close()
            self.events.put(end)

    async def _main(self) -> None:
        workers = min(self._settings.concurrency, len(self._requests))
        indices = iter(range(len(self._requests)))
        limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers)
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)  # the whole of a try is timed elsewhere
        options = self._server.client_options()
        async with httpx.AsyncClient(limits=limits, timeout=timeout, **options) as client, asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(client, indices))

    async def _work(self, client: httpx.AsyncClient, indices: Iterator[int]) -> None:
        for index in indices:
            completion = await self._insist(client, index)
            taken = self._untaken[index] = self._loop.create_future()
            self.events.put(Sampled(index, completion))
            # However slow the machine, a kill then costs no more requests than are under way at a time.
            await taken
            self._last_answer = time.monotonic()  # nothing was asked for meanwhile

    async def _insist(self, client: httpx.AsyncClient, index: int) -> Completion:
        """Returns the completion of a request, or that it is refused."""
        tries = Tries()
        while True:
            form = self.form
            try:
                completion = await self._ask(client, form, index)
            except FailedTryError as failure:
                reason = self._server.without_key(str(failure))
                if tries.used_up(failure, self._answered):
                    return _refused(f"{reason} ({tries.failed} tries)")
                self._lose_patience(reason)
                await self._try_again(tries.failed - 1, reason, failure.pause_seconds)
            except Refusal as refusal:
                # Others may have been refused for the same reason before, and have changed the form.
                if form != self.form or self._changed_form(refusal):
                    continue
                if not refusal.of_the_request:
                    raise self._error_of(refusal, index) from None
                self._note_answer()
                tries.refused += 1
                if tries.refused >= REFUSALS:
                    return _refused(self._server.without_key(str(refusal)))
                await self._try_again(0, self._server.without_key(str(refusal)), 0.0)
            else:
                self._note_answer()
                self._answered += 1
                self._note_if_cut_short(completion)
                return completion

    async def _try_again(self, tries: int, reason: str, pause_seconds: float) -> None:
        self.events.put(Retried(reason))
        await asyncio.sleep(self._pause(tries, pause_seconds))

    async def _ask(self, client: httpx.AsyncClient, form: Form, index: int) -> Completion:
        """Returns the completion of one try.

        Raises:
            FailedTryError: when another try may succeed.
            Refusal: when the same request would be refused again.
        """
        request = self._requests[index]
        api, body = request_body(request, self._decoding, form, self._server.kind)
        seed, round_name = self._seed_of
        key = stream_key(seed, round_name, request.prompt.problem.id, request.sample)
        body |= {"model": self._server.model, "seed": key & _LARGEST_SEED, **self._settings.body}
        content = json.dumps(body).encode("ascii")  # escaped, so that half a surrogate pair can be sent as well
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(self._settings.timeout_seconds),
                client.stream("POST", self._server.url + PATHS[api], content=content, headers=headers) as response,
            ):
                answer = await _body(response)
        except TimeoutError:
            raise FailedTryError(f"no complete answer within {self._settings.timeout_seconds:g} s") from None
        except httpx.RequestError as error:
            raise failure_of(error) from error
        self._server.check_status(response.status_code, response.headers, answer)
        try:
            completion = completion_of(json.loads(answer), api, self._decoding)
        except WithheldError as withheld:
            raise Refusal(FILTERED, str(withheld)) from None
        except (UnusableAnswerError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, UnusableAnswerError) else "an answer that is not complete JSON"
            raise FailedTryError(reason) from error
        self._chat_works = self._chat_works or api == "chat"
        return completion

    def _note_answer(self) -> None:
        self._last_answer, self._failing_since, self._waiting_said = time.monotonic(), None, False

    def _lose_patience(self, reason: str) -> None:
        """Raises SamplerError when there have been nothing but failures for too long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        # Not since the last answer: the first failure after a long sample must not be the end of it.
        failing = now - self._failing_since
        if failing >= self._settings.patience_seconds:
            raise SamplerError(f"no answer from {self._server.url} for {now - self._last_answer:.0f} s: {reason}")
        if failing >= _SILENT_SECONDS and not self._waiting_said:
            self._waiting_said = True
            left = f"{self._settings.patience_seconds:g} s"
            self.events.put(Note(f"no answer from {self._server.url}, trying for {left}: {reason}"))

    def _pause(self, tries: int, asked_for: float) -> float:
        patience = self._settings.patience_seconds
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 30), LONGEST_PAUSE_SECONDS, patience / 4)
        return max(pause * random.uniform(0.5, 1.0), min(asked_for, patience))  # noqa: S311 - jitter is no secret

    def _changed_form(self, refusal: Refusal) -> bool:
        """Makes another form the one to ask with, and returns whether one may help."""
        may_leave_chat = self._settings.api == "auto" and not self._chat_works
        changed = None
        if refusal.status in (400, 422):
            changed = after_refusal(self.form, refusal.message, may_leave_chat=may_leave_chat)
        if changed is None:
            return False
        if changed.api != self.form.api:
            self.events.put(Note("the server has no chat template for this model: prompts are sent as completions"))
        else:
            said = self._server.without_key(refusal.message)
            self.events.put(Note(f"the server gives no logprobs: {said}"))
        self.form = changed
        return True

    def _error_of(self, refusal: Refusal, index: int) -> ConfigError:
        said, hint = self._server.without_key(refusal.message), ""
        if refusal.status in (401, 403):
            hint = "; [endpoint] api_key_env names the environment variable that holds the server's key"
        problem = short_line(self._requests[index].prompt.problem.id, 60)
        return ConfigError(
            f"the server at {self._server.url} refuses the request for problem '{problem}' "
            f"({refusal.status}): {said}{hint}"
        )

    def _note_if_cut_short(self, completion: Completion) -> None:
        limit, got = self._decoding.max_completion_tokens, len(completion.tokens)
        if completion.finish_reason == "length" and 0 < got < limit and not self._cut_short:
            self._cut_short = True
            self.events.put(Note(f"the server cuts completions at {got} tokens, below max_completion_tokens, {limit}"))


def _refused(reason: str) -> Completion:
    nothing = np.empty(0, dtype=np.int64)
    return Completion("", nothing, nothing.astype(np.float32), "refused", reason)


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LARGEST_ANSWER:
            raise too_large()
    return bytes(body)
