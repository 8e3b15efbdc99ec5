"""`ngrpo report --live`: serves the page of runs that go on, on this machine alone.

The page asks for the version every few seconds, which is made from the sizes and times of the runs' files, and reloads
when it is another. A page is made when it is asked for and kept until its version is old; nothing is written.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from ngrpo.errors import ConfigError, NgrpoError
from ngrpo.report.page_parts import Page
from ngrpo.report.report_files import page_of
from ngrpo.report.report_html import Live, page_html

HOST = "127.0.0.1"
SECONDS = 3
WATCHED = ("metrics.jsonl", "eval/*/*/summary.json", "results.json", "summaries/*/*.json")


class LiveServer:
    """A server of one page; a context manager.

    Args:
        paths: run folders, or the folder of a study.
        port: 0 for any that is free.

    Raises:
        ConfigError: when there is nothing to report of, or the port is in use.
    """

    def __init__(self, paths: Sequence[Path], port: int = 0) -> None:
        self._paths, self._lock = list(paths), threading.Lock()
        self._version, self._text = "", b""
        self.page()
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(f"--port {port} cannot be used: {error.strerror}") from None
        self._server.live = self
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    def serve(self) -> None:
        """Answers until `stop` is called, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Ends `serve`, from another thread."""
        self._server.shutdown()

    def version(self) -> str:
        """Returns a digest that changes when a step or an evaluation is finished."""
        found = [str(len(self._paths))]
        for path in self._paths:
            for pattern in WATCHED:
                for file in sorted(path.glob(pattern)):
                    try:
                        state = file.stat()
                    except OSError:  # replaced at this moment
                        continue
                    found.append(f"{file} {state.st_size} {state.st_mtime_ns}")
        return hashlib.sha256("\n".join(found).encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def page(self) -> bytes:
        """Returns the page as it is now."""
        with self._lock:
            version = self.version()
            if version != self._version:
                page: Page = page_of(self._paths)
                self._text = page_html(page, Live(SECONDS, version)).encode("utf-8", "backslashreplace")
                self._version = version
            return self._text


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    live: LiveServer

    def handle_error(self, *_: Any) -> None:
        """Says nothing of a browser that goes away before it has the whole page."""
        if not isinstance(sys.exception(), ConnectionError):
            raise


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answers / with the page and /version with its version."""
        # A page of another origin whose name leads here must not read a run: only this machine's own names are served.
        host = self.headers.get("Host", "")
        if host not in (f"{HOST}:{self.server.live.port}", f"localhost:{self.server.live.port}"):
            self._answer(403, b"only 127.0.0.1 and localhost are served\n", "text/plain")
        elif self.path == "/version":
            self._answer(200, self.server.live.version().encode(), "text/plain")
        elif self.path in ("/", "/index.html"):
            try:
                self._answer(200, self.server.live.page(), "text/html")
            except NgrpoError as error:
                self._answer(500, f"{error}\n".encode("utf-8", "backslashreplace"), "text/plain")
        else:
            self._answer(404, b"not found\n", "text/plain")

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)
