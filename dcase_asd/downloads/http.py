"""Requests that bear a server's faults, and several of them at once, which Ctrl-C stops."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Self, TypeVar

import httpx

from dcase_asd import __version__
from dcase_asd.errors import DcaseAsdError, DownloadError

T = TypeVar("T")

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNSATISFIABLE_RANGE = 416
_AGAIN = "run the same command again to go on where it stopped"


@dataclass(frozen=True)
class Patience:
    """How long a server's faults are borne; all times in seconds.

    `attempts` is the number of failures in a row after which a file is given up. The pause after
    the first is `first_pause` and doubles up to `longest_pause`; a server's own ``Retry-After``
    goes before, up to `longest_request`. `silence` is how long a connection may say nothing.
    """

    attempts: int = 8
    first_pause: float = 1.0
    longest_pause: float = 60.0
    longest_request: float = 300.0
    silence: float = 30.0


class UnreachableError(DownloadError):
    """There is no way to the server: no network, a wrong host or proxy."""


class TransientError(Exception):
    """A fault that may be gone the next time; `pause` is how long the server asks to wait."""

    def __init__(self, reason: str, pause: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.pause = pause
        self.unreachable = unreachable


class Connection:
    """Requests with one pool of connections; safe to use from several threads.

    Args:
        mirror: Address that takes the place of scheme and host in every request; empty for none.
        patience: How long faults are borne.

    Raises:
        DownloadError: The mirror is no http address, or the environment names a proxy that cannot
            be used.
    """

    def __init__(self, mirror: str = "", patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.stop = threading.Event()
        self.reached = False
        self._mirror = httpx.URL(mirror) if mirror else None
        if self._mirror and (self._mirror.scheme not in ("http", "https") or not self._mirror.host):
            raise DownloadError(f"{mirror}: no address of a mirror; give --mirror https://HOST")
        try:
            self._client = httpx.Client(
                follow_redirects=True,
                timeout=httpx.Timeout(self.patience.silence),
                verify=_trusted(),
                # Each thread keeps one connection; the bound on threads is the bound on these.
                limits=httpx.Limits(max_connections=None),
                # What is stored is what is hashed: no compression on the way.
                headers={"User-Agent": f"dcase-asd/{__version__}", "Accept-Encoding": "identity"},
            )
        except (ValueError, ImportError) as error:
            raise DownloadError(
                f"the proxy that the environment names cannot be used ({_one_line(error)}); "
                "mend HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def address(self, url: str) -> str:
        """The address that is asked in fact: `url`, or its counterpart on the mirror."""
        if self._mirror is None:
            return url
        original = httpx.URL(url)
        path = self._mirror.raw_path.split(b"?")[0].rstrip(b"/") + original.raw_path
        return str(self._mirror.copy_with(raw_path=path))

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """Open a response of status 200, 206 or 416 whose body has not been read.

        Raises:
            TransientError: A fault of the connection, or a status that may pass.
            DownloadError: The server refuses.
        """
        address = self.address(url)
        try:
            with self._client.stream("GET", address, headers=headers) as response:
                self.reached = True
                _check_status(response, address)
                yield response
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise DownloadError(f"{address}: {_one_line(error)}; check the address") from error
        except httpx.TimeoutException as error:
            reason = f"no answer for {self.patience.silence:g} s"
            unreachable = isinstance(error, httpx.ConnectTimeout)
            raise TransientError(reason, unreachable=unreachable) from error
        except httpx.TransportError as error:
            unreachable = isinstance(error, (httpx.ConnectError, httpx.ProxyError))
            raise TransientError(_one_line(error), unreachable=unreachable) from error

    def read(self, url: str, most: int) -> bytes:
        """A short answer, asked for again until it comes; what is longer is cut off.

        Args:
            url: What to ask for.
            most: About how many bytes to read.

        Raises:
            UnreachableError: The server cannot be reached.
            DownloadError: It refuses, or keeps failing.
        """
        failures = 0
        while True:
            answer = bytearray()
            try:
                with self.get(url) as response:
                    for chunk in response.iter_raw():
                        answer += chunk
                        if len(answer) > most:
                            break
                return bytes(answer)
            except TransientError as fault:
                failures += 1
                self.wait(url, fault, failures)

    def wait(self, url: str, fault: TransientError, failures: int) -> None:
        """Wait before the next attempt.

        A server that answered before is waited for when it cannot be reached, as it may be starting
        again; one that never did is not.

        Args:
            url: What was asked for.
            fault: What came of it.
            failures: How many there were in a row.

        Raises:
            UnreachableError: There was no way to any server yet.
            DownloadError: There is no next attempt.
        """
        patience, address = self.patience, self.address(url)
        if fault.unreachable and not self.reached:
            raise UnreachableError(
                f"{address}: cannot be reached ({fault}); check the network and the proxy, "
                "or name a --mirror"
            ) from fault
        if failures >= patience.attempts:
            raise DownloadError(f"{address}: {fault}, {failures} times; {_AGAIN}") from fault
        pause = min(patience.first_pause * 2 ** (failures - 1), patience.longest_pause)
        if fault.pause is not None:
            if fault.pause > patience.longest_request:
                raise DownloadError(
                    f"{address}: {fault}; the server asks to come back in {fault.pause:.0f} s: "
                    f"then {_AGAIN}"
                ) from fault
            pause = fault.pause
        self.pause(pause)

    def check_stop(self) -> None:
        """End this thread's work if the command was stopped.

        Raises:
            DownloadError: It was.
        """
        if self.stop.is_set():
            raise DownloadError(f"stopped; {_AGAIN}")

    def pause(self, seconds: float) -> None:
        """Wait, unless the command is stopped meanwhile.

        Raises:
            DownloadError: It was stopped.
        """
        self.stop.wait(seconds)
        self.check_stop()


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes longer than a small request."""
    return httpx.create_ssl_context()


def _check_status(response: httpx.Response, address: str) -> None:
    status = response.status_code
    reason = f"the server answers {status} {response.reason_phrase}".rstrip()
    if status in _TRANSIENT:
        raise TransientError(reason, _retry_after(response.headers.get("Retry-After", "")))
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT, _UNSATISFIABLE_RANGE):
        raise DownloadError(f"{address}: {reason}; check the address, or the --mirror")


def _retry_after(value: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


SECONDS_TO_STOP = 2.0
"""How long threads may take to note where they are when the command is stopped."""


def run_parallel(
    tasks: Sequence[Callable[[], T]], workers: int, stop: threading.Event
) -> list[T | DcaseAsdError]:
    """Run tasks in at most `workers` threads.

    The threads are daemons: one that waits for a silent server does not hold up Ctrl-C. What they
    leave behind is what a killed process leaves, which the next run takes up.

    Args:
        tasks: Functions without arguments.
        workers: How many run at once.
        stop: Set when the caller is interrupted or a task fails unexpectedly, so that the others
            end soon.

    Returns:
        For each task, in order, its result or the error that ended it.

    Raises:
        BaseException: What interrupted the caller, or an error that is no `DcaseAsdError`.
    """
    waiting = deque(enumerate(tasks))
    results: dict[int, T | DcaseAsdError] = {}
    unexpected: list[BaseException] = []
    threads = [
        threading.Thread(target=_work, args=(waiting, results, unexpected, stop), daemon=True)
        for _ in range(min(workers, len(tasks)))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(SECONDS_TO_STOP / len(threads))
        raise
    if unexpected:
        raise unexpected[0]
    return [results[index] for index in range(len(tasks))]


def _work(
    waiting: deque[tuple[int, Callable[[], T]]],
    results: dict[int, T | DcaseAsdError],
    unexpected: list[BaseException],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            index, task = waiting.popleft()
        except IndexError:
            return
        try:
            results[index] = task()
        except DcaseAsdError as error:
            results[index] = error
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            unexpected.append(error)
            stop.set()
