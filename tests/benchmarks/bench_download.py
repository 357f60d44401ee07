"""Fetching with its checksum against plain httpx, with and without a checksum, over loopback."""

from __future__ import annotations

import hashlib
import http.server
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import httpx

from dcase_asd.downloads.fetch import fetch
from dcase_asd.downloads.http import Connection
from dcase_asd.downloads.partial import RemoteFile

MEBIBYTES = 64
ROUNDS = 30


def serve(path, port):
    """Answer every request with one file, by the kernel: the server is not what is measured."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.flush()
                sent = 0
                while sent < size:
                    sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def main():
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        digest = hashlib.md5(usedforsecurity=False)
        with source.open("wb") as file:
            for _ in range(MEBIBYTES):
                block = os.urandom(1 << 20)
                digest.update(block)
                file.write(block)
        port = multiprocessing.Queue()
        server = multiprocessing.Process(target=serve, args=(source, port), daemon=True)
        server.start()
        url = f"http://127.0.0.1:{port.get()}/"
        try:
            measure(url, Path(folder) / "target", f"md5:{digest.hexdigest()}")
        finally:
            server.terminate()
            server.join()


def measure(url, target, checksum):
    remote = RemoteFile(url, MEBIBYTES << 20, checksum)

    def ours():
        with Connection() as connection:
            fetch(connection, remote, target, lambda count: None)

    def plain(take=lambda chunk: None):
        with (
            httpx.Client() as client,
            client.stream("GET", url) as response,
            target.open("wb") as file,
        ):
            for chunk in response.iter_bytes():
                file.write(chunk)
                take(chunk)

    def hashed():
        plain(hashlib.md5(usedforsecurity=False).update)

    times = {plain: [], hashed: [], ours: []}
    for _ in range(ROUNDS):
        for download, seconds in times.items():
            target.unlink(missing_ok=True)
            started = time.perf_counter()
            download()
            seconds.append(time.perf_counter() - started)
    # The best of each: others may hold the processor for a while.
    speeds = [MEBIBYTES / min(seconds) for seconds in times.values()]
    print(
        f"download with md5 in the same pass, {MEBIBYTES} MiB: {speeds[2]:.0f} MiB/s; plain httpx "
        f"with md5 {speeds[1]:.0f} MiB/s, ratio {speeds[2] / speeds[1]:.2f}; without "
        f"{speeds[0]:.0f} MiB/s, ratio {speeds[2] / speeds[0]:.2f}"
    )


if __name__ == "__main__":
    main()
