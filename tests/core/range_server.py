"""An HTTP server of files that answers range requests, counts what it sends, and fails on demand."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-(\d*)$")


@dataclass(frozen=True)
class Served:
    """One answered request."""

    method: str
    path: str
    query: str
    status: int
    sent: int
    """Bytes of the body."""
    headers: Mapping[str, str]


@dataclass
class Fault:
    """What happens to requests for a path, for as many times as it says."""

    kind: str
    """`status`, `stall` (a part of the body and then silence), `short` (fewer bytes than the length that was told),
    `cut` (the file ends early, and the answer says so), `redirect`."""
    times: int = 1
    status: int = 500
    methods: tuple[str, ...] = ("GET", "HEAD")
    to: str = ""
    """Where a redirect leads."""
    after: int = 0
    """So many requests pass before."""


class RangeServer:
    """Serves the files below a folder at `url`.

    Args:
        folder: What it serves.
        certificate: A file with a certificate and its key: then it speaks https, as `localhost`.
    """

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder = folder
        self.log: list[Served] = []
        self.faults: dict[str, list[Fault]] = {}
        """By the end of a path."""
        self.stalled = 0
        """Answers that were begun and are not ended."""
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def do_HEAD(self) -> None:
                server.answer(self)

            def handle(self) -> None:
                with suppress(ssl.SSLError, ConnectionError):  # who does not trust the certificate hangs up
                    super().handle()

            def log_message(self, format: str, *args: Any) -> None:
                """Keeps silent: the log is a list."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
            self.url = f"https://localhost:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fails(self, path_end: str, kind: str, **options: Any) -> None:
        """Makes the next requests for paths with this end fail."""
        self.faults.setdefault(path_end, []).append(Fault(kind, **options))

    def sent(self, path_end: str = "") -> int:
        """Bytes of all bodies sent so far for paths with this end."""
        return sum(served.sent for served in self.log if served.path.endswith(path_end))

    def asked(self, path_end: str = "") -> list[Served]:
        return [served for served in self.log if served.path.endswith(path_end)]

    def remaining_faults(self) -> int:
        return sum(fault.times for faults in self.faults.values() for fault in faults)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        fault = self._fault(path, request)
        status, sent = 200, 0
        try:
            status, sent = self._answer(request, path, fault)
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True
        with self._lock:
            self.log.append(Served(request.command, path, query, status, sent, dict(request.headers)))

    def _fault(self, path: str, request: BaseHTTPRequestHandler) -> Fault | None:
        with self._lock:
            for end, faults in self.faults.items():
                for fault in faults:
                    if path.endswith(end) and request.command in fault.methods and fault.times:
                        if fault.after:
                            fault.after -= 1
                            continue
                        fault.times -= 1
                        return fault
        return None

    def _answer(self, request: BaseHTTPRequestHandler, path: str, fault: Fault | None) -> tuple[int, int]:
        file = self.folder / path.lstrip("/")
        if fault is not None and fault.kind == "redirect":
            request.send_response(302)
            request.send_header("Location", fault.to)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return 302, 0
        if (fault is not None and fault.kind == "status") or not file.is_file():
            status = fault.status if fault is not None and fault.kind == "status" else 404
            request.send_response(status)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return status, 0
        size = file.stat().st_size
        if fault is not None and fault.kind == "cut":
            size //= 2
        start, end, status = 0, size, 200
        asked = _RANGE.match(request.headers.get("Range", ""))
        if asked is not None:
            start, end, status = int(asked[1]), min(int(asked[2] or size) + 1, size), 206
        if start >= size:
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return 416, 0
        request.send_response(status)
        request.send_header("Content-Length", str(end - start))
        request.send_header("Accept-Ranges", "bytes")
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        request.end_headers()
        if request.command == "HEAD":
            return status, 0
        with file.open("rb") as content:
            content.seek(start)
            body = content.read(end - start)
        if fault is not None and fault.kind in ("stall", "short"):
            body = body[: len(body) // 2]
            request.wfile.write(body)
            request.wfile.flush()
            if fault.kind == "stall":
                with self._lock:
                    self.stalled += 1
                self.stopped.wait()
            request.close_connection = True
            return status, len(body)
        request.wfile.write(body)
        return status, len(body)


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[RangeServer]:
    """A server that does not outlive its test."""
    server = RangeServer(folder, certificate)
    try:
        yield server
    finally:
        with suppress(OSError):
            server.stop()
