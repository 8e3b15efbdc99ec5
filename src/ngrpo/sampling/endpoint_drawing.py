"""Requests under way: many at a time, each tried until its answer is whole, none lost and none delivered twice.

They live in one event loop in a thread of its own, so that grading goes on meanwhile and an abandoned draw closes its
connections at once, which tells the server to stop as well.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from typing import Any, NamedTuple

import httpx

from ngrpo.errors import ConfigError, EngineError
from ngrpo.sampling.endpoint_protocol import (
    PATHS,
    Form,
    UnusableAnswerError,
    after_refusal,
    completion_of,
    message_of,
    request_body,
    shortened,
)
from ngrpo.sampling.endpoint_settings import EndpointSettings
from ngrpo.sampling.sampler import Decoding, Request
from ngrpo.sampling.streams import stream_key
from ngrpo.types import Completion

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
"""Pauses between the tries of a request double from the first to the longest."""
TRANSIENT = frozenset((408, 409, 425, 429))
"""Refusals, besides all from 500 on, after which the same request may well be answered."""

_LARGEST_SEED = 0x7FFFFFFF
_CONNECT_SECONDS = 10.0
_UNDELIVERED_FACTOR = 4
"""Completions that wait for whoever takes them, for each request under way: with more, no new ones are asked for."""
_STOP_SECONDS = 5.0


class FailedTryError(Exception):
    """A try that came to nothing, where another may succeed, perhaps after a pause that the server asks for."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class Refusal(Exception):  # noqa: N818 - it may be no error: another form may be accepted
    """A request that the server refuses, with its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Drawn(NamedTuple):
    """A completion and the index of its request."""

    request: int
    completion: Completion


class Retried(NamedTuple):
    """A try failed for this reason; the request will be sent again."""

    reason: str


class Note(NamedTuple):
    """Something that a user should know."""

    text: str


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


def failure_of(error: Exception) -> str:
    """Returns what an httpx error says, which for some is nothing but its name."""
    return shortened(str(error)) or type(error).__name__


def check_status(response: httpx.Response) -> None:
    """Raises FailedTryError or Refusal for an answer that is none."""
    status = response.status_code
    if response.is_success:
        return  # of those, another than 200 has no completion in it, which shows when it is read
    said = f"{status}: {message_of(response.text)}"
    if status in TRANSIENT or status >= 500:
        raise FailedTryError(said, _retry_after(response.headers.get("retry-after", "")))
    if 300 <= status < 400:
        raise Refusal(status, f"it leads on to {shortened(response.headers.get('location', 'nowhere'))}")
    raise Refusal(status, message_of(response.text))


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


class Drawing:
    """One draw: starts at `start`, speaks through `events`, ends with None or an exception as the last event.

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
        self.events: SimpleQueue[Drawn | Retried | Note | BaseException | None] = SimpleQueue()
        self._server, self._settings = server, settings
        self._requests, self._decoding, self._seed_of = requests, decoding, seed_of
        self._chat_works = False
        self._cut_short = False
        self._last_answer = time.monotonic()
        self._failing_since: float | None = None
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] = self._loop.create_task(self._main())
        self._thread = threading.Thread(target=self._run, name="endpoint", daemon=True)

    def start(self) -> None:
        """Sends the first requests."""
        self._thread.start()

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
        room = _UNDELIVERED_FACTOR * self._settings.concurrency
        for index in indices:
            while self.events.qsize() > room:
                await asyncio.sleep(0.05)
                self._last_answer = time.monotonic()  # nothing was asked for meanwhile
            completion = await self._insist(client, index)
            self.events.put(Drawn(index, completion))

    async def _insist(self, client: httpx.AsyncClient, index: int) -> Completion:
        """Returns the completion of a request, however many tries it takes."""
        tries = 0
        while True:
            form = self.form
            try:
                completion = await self._ask(client, form, index)
            except FailedTryError as failure:
                self._lose_patience(failure)
                self.events.put(Retried(self._server.without_key(str(failure))))
                await asyncio.sleep(self._pause(tries, failure.pause_seconds))
                tries += 1
            except Refusal as refusal:
                # Others may have been refused for the same reason before, and have changed the form.
                if form == self.form:
                    self._change_form(refusal, index)
            else:
                self._last_answer, self._failing_since = time.monotonic(), None
                self._note_if_cut_short(completion)
                return completion

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
            async with asyncio.timeout(self._settings.timeout_seconds):
                response = await client.post(self._server.url + PATHS[api], content=content, headers=headers)
        except TimeoutError:
            raise FailedTryError(f"no whole answer within {self._settings.timeout_seconds:g} s") from None
        except httpx.RequestError as error:
            raise FailedTryError(failure_of(error)) from error
        check_status(response)
        try:
            completion = completion_of(response.json(), api, self._decoding)
        except (UnusableAnswerError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, UnusableAnswerError) else "an answer that is no whole JSON"
            raise FailedTryError(reason) from error
        self._chat_works = self._chat_works or api == "chat"
        return completion

    def _lose_patience(self, failure: FailedTryError) -> None:
        """Raises EngineError when there have been nothing but failures for too long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        # Not since the last answer: the first failure after a long draw must not be the end of it.
        if now - self._failing_since >= self._settings.patience_seconds:
            raise EngineError(
                f"no answer from {self._server.url} for {now - self._last_answer:.0f} s: "
                f"{self._server.without_key(str(failure))}; what was drawn is kept, --resume goes on"
            )

    def _pause(self, tries: int, asked_for: float) -> float:
        patience = self._settings.patience_seconds
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 30), LONGEST_PAUSE_SECONDS, patience / 4)
        return max(pause * random.uniform(0.5, 1.0), min(asked_for, patience))  # noqa: S311 - jitter is no secret

    def _change_form(self, refusal: Refusal, index: int) -> None:
        """Makes another form the one to ask with.

        Raises:
            ConfigError: when none would help.
        """
        may_leave_chat = self._settings.api == "auto" and not self._chat_works
        changed = None
        if refusal.status in (400, 422):
            changed = after_refusal(self.form, refusal.message, may_leave_chat=may_leave_chat)
        said = self._server.without_key(refusal.message)
        if changed is None:
            hint = ""
            if refusal.status in (401, 403):
                hint = "; [endpoint] api_key_env names the environment variable that holds the server's key"
            problem = self._requests[index].prompt.problem.id
            raise ConfigError(
                f"the server at {self._server.url} refuses the request for problem '{problem}' "
                f"({refusal.status}): {said}{hint}"
            )
        if changed.api != self.form.api:
            self.events.put(Note("the server has no chat template for this model: prompts are sent as completions"))
        else:
            self.events.put(Note(f"the server gives no logprobs: {said}"))
        self.form = changed

    def _note_if_cut_short(self, completion: Completion) -> None:
        limit, got = self._decoding.max_completion_tokens, len(completion.tokens)
        if completion.finish_reason == "length" and 0 < got < limit and not self._cut_short:
            self._cut_short = True
            self.events.put(Note(f"the server cuts completions at {got} tokens, below max_completion_tokens, {limit}"))


def deliver(
    drawing: Drawing, on_message: Callable[[str], None], on_retry: Callable[[int, str], None]
) -> Iterator[tuple[int, Completion]]:
    """Yields what a drawing draws, each completion once, and stops it when nobody wants more.

    Args:
        drawing: not yet started.
        on_message: is told what a user should know.
        on_retry: is told how many tries have failed in this draw, and why the last one did.

    Raises:
        ConfigError: when the server refuses a request.
        EngineError: when it does not answer any more.
    """
    retries = 0
    drawing.start()
    try:
        while (event := drawing.events.get()) is not None:
            match event:
                case Drawn(index, completion):
                    yield index, completion
                case Retried(reason):
                    retries += 1
                    on_retry(retries, reason)
                case Note(text):
                    on_message(text)
                case BaseException():
                    raise event
    finally:
        drawing.stop()
