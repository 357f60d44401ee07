"""A server on the loopback interface that publishes files as Zenodo does, faults included."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

MOST_REQUESTS = 3000
PIECE = 1 << 12


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `drop`: the connection ends after so many bytes of the body. `stall`: it falls silent there
    instead. `status`: that answer, with `retry_after` or `location`. `announced`: a wrong
    Content-Length. `whole`: a range is ignored. `extra`: bytes after the end. `damaged`: another
    body of the same length. `shifted`: a range begins at another byte than was asked. `chunked`: no
    Content-Length.
    """

    drop: int | None = None
    stall: int | None = None
    status: int = 0
    retry_after: str = ""
    location: str = ""
    announced: int | None = None
    whole: bool = False
    extra: bytes = b""
    damaged: bool = False
    shifted: bool = False
    chunked: bool = False


class Loopback:
    """Files by path, the faults of their next requests, and the requests that were made."""

    def __init__(self, port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.pause = 0.0
        self.closing = threading.Event()
        self.busy = 0
        self.busiest = 0
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.loopback = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server; a second time does nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, path: str, content: bytes, *faults: Fault) -> str:
        """Publish a file; returns its address."""
        self.files[path] = content
        self.etags[path] = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        self.faults[path] = list(faults)
        return self.url + path

    def publish(
        self, number: int, files: dict[str, bytes], licence: str = "cc-by-nc-sa-4.0"
    ) -> None:
        """Publish a record with its description."""
        description = {
            "id": number,
            "metadata": {"license": {"id": licence}},
            "files": [
                {"key": name, "size": len(content), "checksum": f"md5:{md5(content)}"}
                for name, content in files.items()
            ],
        }
        self.serve(f"/api/records/{number}", json.dumps(description).encode())
        for name, content in files.items():
            self.serve(f"/records/{number}/files/{name}", content)

    def note_request(self, path: str, asked_range: str) -> Fault:
        """Count a request; returns what is to go wrong with it."""
        with self.lock:
            self.requests.append((path, asked_range))
            if len(self.requests) > MOST_REQUESTS:
                raise RuntimeError("the client asks without end")
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            faults = self.faults[path]
            return faults.pop(0) if faults else Fault()

    def asked(self, path: str) -> list[str]:
        """The Range headers of all requests for a path."""
        return [header for asked, header in self.requests if asked == path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    loopback: Loopback

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that were killed are what these tests are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        loopback = self.server.loopback
        fault = loopback.note_request(self.path, self.headers.get("Range", ""))
        try:
            content = loopback.files.get(self.path)
            if fault.status or content is None:
                self.refuse(fault)
            else:
                self.answer(content, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with loopback.lock:
                loopback.busy -= 1

    def refuse(self, fault: Fault) -> None:
        headers = {"Retry-After": fault.retry_after, "Location": fault.location}
        self.begin(fault.status or 404, {key: value for key, value in headers.items() if value})

    def answer(self, content: bytes, fault: Fault) -> None:
        etag = self.server.loopback.etags[self.path]
        start = self.first_byte(etag, len(content), fault)
        if start and start >= len(content):
            self.begin(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        body = content[start:] + fault.extra
        if fault.damaged:
            body = bytes(byte ^ 1 for byte in body)
        headers = {"ETag": etag, "Content-Length": str(len(body))}
        if start:
            first = start + 1 if fault.shifted else start
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if fault.announced is not None:
            headers["Content-Length"] = str(fault.announced)
        if fault.chunked:
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        self.begin(206 if start else 200, headers)
        self.send(body, fault)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (({"Content-Length": "0"} if status >= 300 else {}) | headers).items():
            self.send_header(key, value)
        self.end_headers()

    def first_byte(self, etag: str, size: int, fault: Fault) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match is None or fault.whole or self.headers.get("If-Range", etag) != etag:
            return 0
        return min(int(match[1]), size + 1)

    def send(self, body: bytes, fault: Fault) -> None:
        end = len(body)
        for limit in (fault.drop, fault.stall):
            end = end if limit is None else min(end, limit)
        for begin in range(0, end, PIECE):
            piece = body[begin : min(begin + PIECE, end)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if fault.chunked else piece)
            if self.server.loopback.pause:
                time.sleep(self.server.loopback.pause)
        if fault.stall is not None:
            self.wfile.flush()
            self.server.loopback.closing.wait(10)
        if fault.drop is not None or fault.stall is not None or fault.announced is not None:
            self.close_connection = True
        elif fault.chunked:
            self.wfile.write(b"0\r\n\r\n")
