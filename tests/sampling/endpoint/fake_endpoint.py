"""A small OpenAI-compatible server on loopback, whose answers follow from the seed, and which misbehaves as asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.sampling.endpoint.endpoint_sampler import EndpointSampler

Fault = tuple[str, Any]
"""What a server does instead of answering: ("status", (code, headers, text)), ("finish", reason), ..."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def setup(self) -> None:
        super().setup()
        self.fake.connections.append(self.connection)

    def log_message(self, *_arguments: Any) -> None: ...

    def do_GET(self) -> None:
        fault = self.fake.on_models()
        if fault:
            self.reply(*fault[1])
            return
        about = {"owned_by": self.fake.kind, "max_model_len": self.fake.max_model_len}
        self.reply(200, {}, json.dumps({"data": [{"id": name, **about} for name in self.fake.models]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.fake.lock:
            self.fake.seen.append((self.path, dict(self.headers), body))
            self.fake.under_way += 1
            self.fake.most_under_way = max(self.fake.most_under_way, self.fake.under_way)
            number = len(self.fake.seen)
        try:
            self.answer(body, self.fake.fault(number, self.path, body) or ("none", None))
        finally:
            with self.fake.lock:
                self.fake.under_way -= 1

    def answer(self, body: dict[str, Any], fault: Fault) -> None:
        kind, detail = fault
        if kind == "slow":
            time.sleep(detail)
        answer = self.fake.answer_of(self.path, body)
        if kind == "status":
            self.reply(*detail)
        elif kind == "drop":  # in the middle of the body, or before anything
            if detail:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode()[:detail])
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif kind == "torn":
            self.reply(200, {}, json.dumps(answer)[:detail])
        elif kind == "bytes":
            self.reply(200, {}, detail)
        elif kind == "hang":
            self.fake.stopped.wait(detail)
        elif kind == "finish":
            answer["choices"][0]["finish_reason"] = detail
            self.reply(200, {}, json.dumps(answer))
        elif kind == "instead":
            self.reply(200, {}, json.dumps(detail))
        else:
            self.reply(200, {}, json.dumps(answer))

    def reply(self, status: int, headers: dict[str, str], content: str | bytes) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_arguments: Any) -> None: ...


class FakeServer:
    """A small OpenAI-compatible server whose answers follow from the seed, and which misbehaves as asked."""

    def __init__(self, kind: str = "vllm") -> None:
        self.kind, self.models, self.max_model_len = kind, ["m"], 100
        self.fault: Callable[[int, str, dict[str, Any]], Fault | None] = lambda *_request: None
        self.on_models: Callable[[], Fault | None] = lambda: None
        self.answer_of: Callable[[str, dict[str, Any]], dict[str, Any]] = answer_of
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.connections: list[socket.socket] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        self.stopped.clear()
        handler = type("BoundHandler", (Handler,), {"fake": self})
        self.server = QuietServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """As a kill: connections end in the middle of whatever they carry."""
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def sampler(self, model: str = "m", **table: Any) -> EndpointSampler:
        callbacks = {name: table.pop(name) for name in ("on_message", "on_retry", "start_seconds") if name in table}
        parsed = EndpointSettings.parse({"url": f"http://127.0.0.1:{self.port}", **table})
        return EndpointSampler(parsed, model, **callbacks)

    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.seen]


def answer_of(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One to eight tokens, decided by the seed."""
    seed = body["seed"]
    count = seed % 8 + 1
    logprobs = [-(seed % 97 + i) / 100 for i in range(count)]
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if count == 8 else "stop", "logprobs": None}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": f"text {seed}"}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "t", "logprob": value} for value in logprobs]}
    else:
        choice["text"] = f"text {seed}"
        if body.get("logprobs") is not None:
            choice["logprobs"] = {"tokens": ["t"] * count, "token_logprobs": logprobs}
    if body.get("return_token_ids"):
        choice["token_ids"] = [seed % 1000 + i for i in range(count)]
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": count}}


@contextmanager
def running(kind: str = "vllm") -> Iterator[FakeServer]:
    fake = FakeServer(kind)
    try:
        yield fake
    finally:
        fake.stop()
